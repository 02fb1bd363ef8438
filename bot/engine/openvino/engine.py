"""The engine for CPUs: OpenVINO GenAI, a process for each version in memory. Needs no torch."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from pathlib import Path

from bot.chat.prompting import ChatMessage
from bot.engine.openvino.worker_process import VersionProcess
from bot.engine.protocol import EngineState, Finish, GenerationRequest, RenderedPrompt
from bot.engine.queue import QueuedGeneration, Turns, require_room
from bot.engine.rendering import Renderer, open_window
from bot.errors import EngineClosed, EngineStopped
from storage.adapters.folder_store import AdapterRef
from storage.models.base_model import BaseModel, end_ids
from storage.models.hardware import serving_format
from storage.models.libraries import MODEL_LIBRARIES
from storage.models.openvino.options import PipelineOptions
from storage.models.openvino.verifier import Verifier
from storage.settings.sections import GenerationSettings, ModelSettings

log = logging.getLogger(__name__)


class OpenVinoEngine:
    """Answers begin as soon as one of `generation.batch_size` places is free; versions compute side by side.

    Lanes take turns at free places, each lane's oldest request first. Every version is a process with its own memory of
    how prompts began, so that no answer, and no part of one, comes from another version than the one it asks for.
    """

    def __init__(
        self, base: BaseModel, data_directory: Path, model: ModelSettings, generation: GenerationSettings
    ) -> None:
        self._base = base
        self._verifier = Verifier(base, data_directory, model)
        self._folder: Path | None = None
        """Of graphs, once they may be used."""
        self._wanted: list[AdapterRef | None] = []
        """Versions to load with the start."""
        self._window: int
        self._model = model
        self._generation = generation
        self._waiting: list[QueuedGeneration] = []
        self._versions: dict[AdapterRef | None, VersionProcess] = {}
        self._turns = Turns()
        self._leaving: set[asyncio.Task[None]] = set()
        self._timers: dict[QueuedGeneration, asyncio.TimerHandle] = {}
        self._is_open = False
        self._is_closing = False
        self._idle = asyncio.Event()
        self._renderer: Renderer | None = None
        self._end_ids: frozenset[int] = frozenset()

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def state(self) -> EngineState:
        trouble = "" if self._is_open or self._is_closing else "OpenVINO is not started"
        return EngineState(sum(version.is_ready for version in self._versions.values()), trouble, name="OpenVINO")

    async def start(self) -> None:
        try:
            self._window = open_window(self._base.path, self._model, self._generation.max_new_tokens)
            self._folder = await asyncio.to_thread(self._verifier.require)
            for adapter in self._wanted:  # while the tokenizer is read
                self.prepare(adapter)
            await asyncio.to_thread(self._read_tokenizer)
            await self._require_loading()
        except Exception as error:
            if not self._is_closing:
                raise EngineStopped(f"OpenVINO cannot serve the base model in {self._base.path}: {error}") from error
        self._is_open = not self._is_closing
        self._settle()

    async def _require_loading(self) -> None:
        """Raise why a version cannot be loaded, unless its adapter alone is to blame: then others may be."""
        for version in list(self._versions.values()):
            await version.has_settled.wait()
            if version.is_gone and not version.is_misfit:
                raise version.failure

    def _read_tokenizer(self) -> None:
        with MODEL_LIBRARIES:
            from transformers import PreTrainedTokenizerFast

            tokenizer = PreTrainedTokenizerFast.from_pretrained(self._base.path, local_files_only=True)
        self._renderer = Renderer(tokenizer, self._window - self._generation.max_new_tokens)
        self._end_ids = end_ids(self._base.path, tokenizer)

    async def close(self, drain_s: float) -> None:
        self._is_open, self._is_closing = False, True
        self._verifier.cancel()
        self._settle()
        try:
            await asyncio.wait_for(self._idle.wait(), drain_s)
        except TimeoutError:
            for generation in list(self._timers):
                self._end(generation, Finish.CANCELLED)
        await asyncio.gather(*(version.close() for version in self._versions.values()), *self._leaving)

    async def render(self, messages: Sequence[ChatMessage]) -> RenderedPrompt:
        if self._renderer is None:
            raise EngineStopped("the engine is not started")
        return await asyncio.to_thread(self._renderer.render, messages)

    def submit(self, request: GenerationRequest) -> QueuedGeneration:
        if not self._is_open:
            raise EngineClosed
        require_room(self._waiting, request.lane, self._generation.queue_size)
        generation = QueuedGeneration(request, lambda one: self._end(one, Finish.CANCELLED))
        self._timers[generation] = asyncio.get_running_loop().call_later(
            self._generation.timeout_s, self._end, generation, Finish.TIMEOUT
        )
        self._waiting.append(generation)
        self._settle()
        return generation

    def prepare(self, adapter: AdapterRef | None) -> None:
        """Load a version before it is asked for, where there is room beside those at work."""
        if self._folder is None:
            self._wanted.append(adapter)
        elif not self._is_closing and (self._has_room() or len(self._versions) > 1):
            self._load(adapter)

    def _end(self, generation: QueuedGeneration, finish: Finish) -> None:
        """End an answer early, whether its turn has come or not."""
        if generation.has_ended:
            return
        if generation in self._waiting:
            self._waiting.remove(generation)
            generation.complete(finish, time.perf_counter())
        else:
            self._versions[generation.request.adapter].end(generation, finish)
        self._settle()

    def _settle(self) -> None:
        """Give free places to those who wait, and forget what has ended."""
        while (chosen := self._next()) is not None:
            self._waiting.remove(chosen)
            self._turns.take(chosen.request.lane)
            self._versions[chosen.request.adapter].answer(chosen, self._end_ids)
        for generation in [one for one in self._timers if one.has_ended]:
            self._timers.pop(generation).cancel()
        if self._timers:
            self._idle.clear()
        else:
            self._idle.set()

    def _next(self) -> QueuedGeneration | None:
        """Return whose turn it is: of the lane that waits longest, its oldest; None without a free place."""
        if sum(version.busy for version in self._versions.values()) >= self._generation.batch_size:
            return None
        for one in self._turns.in_order(self._waiting):
            self._load(one.request.adapter)
            if one.request.adapter not in self._versions:
                return None  # all are at work: until one is not, nobody overtakes
            if self._versions[one.request.adapter].is_ready:
                return one
        return None

    def _has_room(self) -> bool:
        return len(self._versions) < self._model.resident_adapters

    def _load(self, adapter: AdapterRef | None) -> None:
        """Load a version in the place of the idle one that was used longest ago, unless all are at work."""
        idle = [key for key, one in self._versions.items() if one.is_ready and not one.busy]
        if adapter in self._versions or not (self._has_room() or idle):
            return
        if not self._has_room():
            self._send_away(self._versions.pop(min(idle, key=lambda key: self._versions[key].used_at)))
        self._versions[adapter] = VersionProcess(self._options(adapter), self._changed)

    def _options(self, adapter: AdapterRef | None) -> PipelineOptions:
        assert self._folder is not None, "nothing is loaded before its graphs may be used"
        return PipelineOptions(
            base=self._base,
            folder=self._folder,
            adapter=adapter,
            batch_size=self._generation.batch_size,
            # What all answers need at once, and as much again for conversations that will go on.
            cached_tokens=2 * self._generation.batch_size * self._window,
            threads=self._model.threads,
            dtype=serving_format(self._model),
            kept_graphs=2 * self._model.resident_adapters,
        )

    def _changed(self, version: VersionProcess) -> None:
        if version.is_gone:
            self._forget(version)
        self._settle()

    def _forget(self, version: VersionProcess) -> None:
        """A version that dies takes its answers with it; one that cannot be loaded also those who wait for it."""
        adapter = version.adapter
        if self._versions.get(adapter) is not version:
            return  # it was sent away
        del self._versions[adapter]
        if version.was_ready:
            return
        for generation in [one for one in self._waiting if one.request.adapter == adapter]:
            self._waiting.remove(generation)
            generation.fail(version.failure)

    def _send_away(self, version: VersionProcess) -> None:
        task = asyncio.get_running_loop().create_task(version.close(), name="version leaves")
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)
