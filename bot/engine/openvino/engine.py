"""The engine for CPUs: OpenVINO GenAI, with a process for each version in memory. Needs no torch."""

from __future__ import annotations

import asyncio
from pathlib import Path

from bot.engine import EngineState, Finish, GenerationRequest
from bot.engine.openvino.worker_process import VersionProcess
from bot.engine.queue import QueuedGeneration, QueueingEngine
from bot.engine.refusals import Refusal, RefusedVersions
from bot.engine.rendering import Renderer, load_renderer
from bot.errors import EngineStopped
from storage.adapters.folder_store import AdapterRef
from storage.models.base_model import BaseModel, window_of
from storage.models.hardware import broken_library, serving_format
from storage.models.openvino.pipeline import PipelineOptions
from storage.models.openvino.verifier import Graphs, Verifier
from storage.settings.sections import GenerationSettings, ModelSettings


class OpenVinoEngine(QueueingEngine[QueuedGeneration]):
    """Starts an answer as soon as one of `generation.batch_size` places is free; versions compute in parallel.

    Lanes take turns at free places, each lane's oldest request first. Every version is a process with its own prefix
    cache, so that no part of an answer comes from another version than the requested one.
    """

    def __init__(
        self, base: BaseModel, data_directory: Path, model: ModelSettings, generation: GenerationSettings
    ) -> None:
        super().__init__(generation)
        self._base = base
        self._verifier = Verifier(base, data_directory, model)
        self._graphs: Graphs | None = None
        """The base's OpenVINO graphs; None until they may be used."""
        self._wanted: list[AdapterRef | None] = []
        """Versions to load as part of the start."""
        self._model = model
        self._versions: dict[AdapterRef | None, VersionProcess] = {}
        self._refused = RefusedVersions()
        self._leaving: set[asyncio.Task[None]] = set()

    def state(self) -> EngineState:
        failure = "" if self._is_open or self._is_closing else "OpenVINO is not started"
        ready = sum(version.is_ready for version in self._versions.values())
        return EngineState(ready, failure, name="OpenVINO", refused_versions=self._refused.describe())

    async def start(self) -> None:
        try:
            self._graphs = await asyncio.to_thread(self._verifier.require)
            for adapter in self._wanted:  # while the tokenizer is read
                self.prepare(adapter)
            self._renderer = await asyncio.to_thread(self._load_renderer)
            await self._require_loading()
        except Exception as error:
            if not self._is_closing:
                why = broken_library(error) or f"OpenVINO cannot serve the base model in {self._base.path}: {error}"
                raise EngineStopped(why) from error
        self._is_open = not self._is_closing
        self._settle()

    def _load_renderer(self) -> Renderer:
        # Not AutoTokenizer, which takes a second longer to import.
        return load_renderer(self._base.path, self._model, self._generation, tokenizer_class="PreTrainedTokenizerFast")

    async def _require_loading(self) -> None:
        """Raise EngineStopped if a version cannot be loaded, except for a bad adapter: other versions may load."""
        for version in list(self._versions.values()):
            await version.has_settled.wait()
            if version.is_gone and not version.is_misfit:
                raise version.failure

    async def close(self, drain_s: float) -> None:
        self._verifier.cancel()
        await self._drain(drain_s)
        await asyncio.gather(*(version.close() for version in self._versions.values()), *self._leaving)

    def submit(self, request: GenerationRequest) -> QueuedGeneration:
        return self._queue(QueuedGeneration(request, self._cancel))

    def prepare(self, adapter: AdapterRef | None) -> None:
        """Load a version ahead of its first request, unless that needs the place of the only version."""
        if self._graphs is None:
            self._wanted.append(adapter)
        elif not self._is_closing and (self._has_room() or len(self._versions) > 1):
            self._load(adapter)

    def refusal_of(self, adapter: AdapterRef | None) -> Refusal | None:
        return self._refused.recent(adapter)

    def _interrupt(self, generation: QueuedGeneration, finish: Finish) -> None:
        self._versions[generation.request.adapter].end(generation, finish)

    def _start_waiting(self) -> None:
        while self._renderer is not None and (chosen := self._next()) is not None:
            self._waiting.remove(chosen)
            self._turns.take(chosen.request.lane)
            self._versions[chosen.request.adapter].answer(chosen, self._renderer)

    def _next(self) -> QueuedGeneration | None:
        """Return the next request: the oldest of the lane that has waited longest; None without a free place."""
        if sum(version.busy for version in self._versions.values()) >= self._generation.batch_size:
            return None
        for one in self._turns.in_order(self._waiting):
            self._load(one.request.adapter)
            if one.request.adapter not in self._versions:
                return None  # every version is busy: until one is idle, no later request overtakes
            if self._versions[one.request.adapter].is_ready:
                return one
        return None

    def _has_room(self) -> bool:
        return len(self._versions) < self._model.resident_adapters

    def _load(self, adapter: AdapterRef | None) -> None:
        """Load a version, in place of the least recently used idle one if memory is full; not if all are busy."""
        idle = [key for key, one in self._versions.items() if one.is_ready and not one.busy]
        if adapter in self._versions or not (self._has_room() or idle):
            return
        if not self._has_room():
            self._unload(self._versions.pop(min(idle, key=lambda key: self._versions[key].used_at)))
        self._versions[adapter] = VersionProcess(self._options(adapter), self._changed)

    def _options(self, adapter: AdapterRef | None) -> PipelineOptions:
        assert self._graphs is not None, "versions are loaded only after the graphs were compared"
        return PipelineOptions(
            base=self._base,
            folder=self._graphs.folder,
            adapter=adapter,
            batch_size=self._generation.batch_size,
            # Enough for all answers at once, and as much again for conversations that will continue.
            cached_tokens=2 * self._generation.batch_size * window_of(self._base.path, self._model),
            threads=self._model.threads,
            dtype=serving_format(self._model),
            recipe=self._graphs.recipe,
            kept_graphs=2 * self._model.resident_adapters,
        )

    def _changed(self, version: VersionProcess) -> None:
        if version.is_gone:
            self._forget(version)
        elif version.is_ready:
            self._refused.clear(version.adapter)
        self._settle()

    def _forget(self, version: VersionProcess) -> None:
        """Forget a dead version; if it could not be loaded, fail the requests that wait for it."""
        adapter = version.adapter
        if self._versions.get(adapter) is not version:
            return  # it was unloaded
        del self._versions[adapter]
        if version.was_ready:
            return
        if version.is_misfit:
            self._refused.note(adapter, version.reason)
        for generation in [one for one in self._waiting if one.request.adapter == adapter]:
            self._waiting.remove(generation)
            generation.fail(version.failure)

    def _unload(self, version: VersionProcess) -> None:
        task = asyncio.get_running_loop().create_task(version.close(), name="unload a version")
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)
