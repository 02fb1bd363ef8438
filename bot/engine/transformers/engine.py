"""The engine that runs the model in this process, on a separate thread."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from bot.chat.prompting import ChatMessage
from bot.engine import (
    CannotSee,
    EngineState,
    Finish,
    GenerationFailed,
    GenerationRequest,
    PictureRequest,
    RenderedPrompt,
    Sampling,
    written,
)
from bot.engine.queue import QueuedGeneration, Turns, require_room
from bot.engine.refusals import Refusal
from bot.engine.rendering import Renderer, load_renderer
from bot.errors import EngineClosed, EngineStopped
from storage.adapters.folder_store import AdapterRef
from storage.models.hardware import MODEL_LIBRARIES, broken_library
from storage.runtime.requests import working_on
from storage.settings.sections import GenerationSettings, ModelSettings

if TYPE_CHECKING:
    from bot.engine.transformers.decoding import DecodingRow
    from bot.engine.transformers.eyes import Eyes, Sight
    from bot.engine.transformers.resident_model import ResidentModel

log = logging.getLogger(__name__)

GATHER_S = 0.015  # requests that arrive together, such as two answers to one question, share a batch


class LocalGeneration(QueuedGeneration):
    """An answer; the model's thread checks after each token whether it must end early."""

    def __init__(
        self,
        request: GenerationRequest,
        timeout_s: float,
        on_cancel: Callable[[LocalGeneration], None],
        sight: Sight | None = None,
    ) -> None:
        super().__init__(request, on_cancel)
        self.timeout_s = timeout_s
        self.sight = sight
        """The picture to describe; None for an answer."""
        self._deadline = self.submitted_at + timeout_s
        self._is_cancelled = False

    def cancel(self) -> None:
        self._is_cancelled = True
        super().cancel()

    def interruption(self) -> Finish | None:
        """Return the reason to end the answer early, or None; any thread may call this."""
        if self._is_cancelled:
            return Finish.CANCELLED
        return Finish.TIMEOUT if time.perf_counter() >= self._deadline else None


class LocalEngine:
    """Answers with transformers and PEFT; one thread owns the model.

    Lanes take turns. A batch has the oldest request of the next lane and others with the same adapter, and ends before
    the next batch starts. A picture is described alone, like a batch of one answer. Timeouts are checked between
    tokens, so an answer can exceed its limit by one step or by the time to read the prompts.
    """

    def __init__(
        self, base_path: Path, model: ModelSettings, generation: GenerationSettings, *, sees: bool = False
    ) -> None:
        """With `sees`, load the base's vision too, and look at pictures."""
        self._sees = sees
        self._base_path = base_path
        self._model = model
        self._generation = generation
        self._waiting: deque[LocalGeneration] = deque()
        self._turns = Turns()
        self._changed = threading.Condition()
        """Guards the queue and the three flags."""
        self._is_open = False
        self._is_closing = False
        self._is_aborting = False
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop
        self._renderer: Renderer | None = None
        self._resident: ResidentModel | None = None
        self._eyes: Eyes | None = None
        self._blindness = "the engine has not loaded what the base sees with"
        """The reason why this engine cannot look at pictures, if it cannot."""

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    @property
    def sees(self) -> bool:
        return self._sees

    def state(self) -> EngineState:
        failure = "" if self._is_open or self._is_closing else "the model's thread is not running"
        if self._resident is None:
            return EngineState(0, failure, name="transformers")
        refused = self._resident.refused.describe()
        return EngineState(1 + self._resident.adapters, failure, name="transformers", refused_versions=refused)

    async def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        ready: Future[None] = Future()
        self._thread = threading.Thread(target=self._run, args=(ready,), name="model", daemon=True)
        self._thread.start()
        await asyncio.wrap_future(ready)

    async def close(self, drain_s: float) -> None:
        with self._changed:
            self._is_open, self._is_closing = False, True
            self._changed.notify()
        if self._thread is None:
            return
        await asyncio.to_thread(self._thread.join, drain_s)
        self._is_aborting = True
        await asyncio.to_thread(self._thread.join)

    async def render(self, messages: Sequence[ChatMessage]) -> RenderedPrompt:
        if self._renderer is None:
            raise EngineStopped("the engine is not started")
        return await asyncio.to_thread(self._renderer.render, messages)

    def prepare(self, adapter: AdapterRef | None) -> None:
        """Do nothing: the first request loads an adapter quickly."""

    def refusal_of(self, adapter: AdapterRef | None) -> Refusal | None:
        resident = self._resident
        return resident.refused.recent(adapter) if resident else None

    def submit(self, request: GenerationRequest) -> LocalGeneration:
        return self._queue(LocalGeneration(request, self._generation.timeout_s, self._withdraw))

    async def look(self, request: PictureRequest) -> str:
        eyes = self._eyes
        if self._renderer is None or eyes is None:
            raise CannotSee(self._blindness)
        words = self._renderer.harmless(request.words)
        try:
            sight = await asyncio.to_thread(eyes.see, request.picture, words)
        except Exception as error:  # processors raise all kinds of errors
            raise GenerationFailed(f"the base's processor failed: {error}") from error
        sampling = Sampling(temperature=0.0, top_p=1.0, presence_penalty=0.0, max_new_tokens=request.max_tokens)
        asked = GenerationRequest(sight.prompt, seed=0, sampling=sampling, adapter=None, lane=request.lane)
        return await written(self._queue(LocalGeneration(asked, request.timeout_s, self._withdraw, sight)))

    def _queue(self, generation: LocalGeneration) -> LocalGeneration:
        with self._changed:
            if not self._is_open:
                raise EngineClosed
            require_room(self._waiting, generation.request.lane, self._generation.queue_size)
            self._waiting.append(generation)
            self._changed.notify()
        return generation

    def _withdraw(self, generation: LocalGeneration) -> None:
        """Remove a cancelled request from the queue; a running answer ends at its next token."""
        with self._changed:
            if generation not in self._waiting:
                return
            self._waiting.remove(generation)
        generation.complete(Finish.CANCELLED, time.perf_counter())

    # Everything below runs on the model's thread.

    def _run(self, ready: Future[None]) -> None:
        if not ready.set_running_or_notify_cancel():
            return
        try:
            self._resident = resident = self._load()
            self._eyes, self._blindness = resident.eyes, resident.blindness or self._blindness
            self._sees = resident.eyes is not None
        except Exception as error:
            ready.set_exception(error)
            return
        with self._changed:
            # If it was closed while loading, it never opens, and the loop below ends at once.
            self._is_open = not self._is_closing
        ready.set_result(None)
        try:
            while self._is_open or self._waiting:
                if batch := self._gather():
                    self._answer(resident, batch)
        finally:
            self._is_open, self._resident = False, None  # the memory is free once this thread has ended
            self._post(_fail, list(self._waiting), EngineStopped("the model's thread died"))

    def _load(self) -> ResidentModel:
        try:
            # Rendering has its own tokenizer: a shared one raises "Already borrowed".
            self._renderer = load_renderer(self._base_path, self._model, self._generation)
            with MODEL_LIBRARIES:
                from bot.engine.transformers.resident_model import ResidentModel

                return ResidentModel(self._base_path, self._model, sees=self._sees)
        except EngineStopped:
            raise
        except Exception as error:
            why = broken_library(error) or f"the base model in {self._base_path} cannot be used: {error}"
            raise EngineStopped(why) from error

    def _gather(self) -> list[LocalGeneration]:
        """Return the next batch; empty if all waiting requests have ended, or on closing."""
        size = self._generation.batch_size
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or not self._is_open)
            self._changed.wait_for(lambda: len(self._waiting) >= size or not self._is_open, timeout=GATHER_S)
            self._end_overdue()
            batch = self._next_batch()[:size]
            for generation in batch:
                self._waiting.remove(generation)
                self._turns.take(generation.request.lane)
        return batch

    def _next_batch(self) -> list[LocalGeneration]:
        """Return the requests that can share a batch now: the next lane's first, each lane's oldest first."""
        if not self._waiting:
            return []
        first = self._turns.in_order(self._waiting)[0]
        if first.sight:
            return [first]
        adapter, lane = first.request.adapter, first.request.lane
        together = [one for one in self._waiting if one.request.adapter == adapter and not one.sight]
        return sorted(together, key=lambda waiting: waiting.request.lane != lane)

    def _answer(self, resident: ResidentModel, batch: Sequence[LocalGeneration]) -> None:
        try:
            self._decode(resident, batch)
        except Exception as error:
            with working_on(", ".join(one.request_id for one in batch if one.request_id)):
                log.exception("A batch of %d answers failed", len(batch))
            self._post(_fail, batch, error)

    def _decode(self, resident: ResidentModel, batch: Sequence[LocalGeneration]) -> None:
        from bot.engine.transformers.decoding import DecodingRow

        started_at = time.perf_counter()
        assert self._renderer is not None, "the model is loaded after it"
        room, served = self._renderer.room, self._renderer.served
        rows = [
            DecodingRow(
                replace(one.request, prompt=served(one.request.prompt)),
                resident.chat,
                room,
                partial(self._interruption, one),
                one.sight,
            )
            for one in batch
        ]

        def report(step: Sequence[tuple[int, str]]) -> None:
            if batch[0].sight and rows[0].first_token_at:
                self._go_blind_if_slow(batch[0].timeout_s, rows[0].first_token_at - started_at)
            # Whether a row is done is checked here, on the thread that changes it.
            updates = [(batch[index], text, rows[index] if rows[index].finish else None) for index, text in step]
            self._post(_deliver, updates, started_at, time.perf_counter())
            with self._changed:
                self._end_overdue()

        if batch[0].sight:
            resident.describe(rows[0], report)
        else:
            resident.answer(batch[0].request.adapter, rows, report)

    def _go_blind_if_slow(self, timeout_s: float, taken_s: float) -> None:
        """Stop looking at pictures if one took too long before its first word: until then, nothing can interrupt it."""
        if taken_s > timeout_s and self._eyes:
            self._blindness = f"a picture took {taken_s:.0f} s before the first word, longer than pictures.timeout_s"
            self._eyes, self._sees = None, False
            log.warning("No more pictures are looked at until the next start: %s.", self._blindness)

    def _end_overdue(self) -> None:
        """End waiting requests whose time is up; the caller holds the lock."""
        for generation in list(self._waiting):
            if finish := self._interruption(generation):
                self._waiting.remove(generation)
                self._post(generation.complete, finish, time.perf_counter())

    def _interruption(self, generation: LocalGeneration) -> Finish | None:
        return Finish.CANCELLED if self._is_aborting else generation.interruption()

    def _post(self, callback: Callable[..., None], *args: object) -> None:
        # If the loop is closed, nobody can read the answer any more.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(callback, *args)


def _deliver(
    updates: Iterable[tuple[LocalGeneration, str, DecodingRow | None]], started_at: float, ended_at: float
) -> None:
    for generation, delta, ended in updates:
        generation.extend(delta)
        if ended and ended.finish:
            generation.complete(
                ended.finish,
                ended_at,
                started_at=started_at,
                first_token_at=ended.first_token_at,
                prompt_tokens=len(ended.prompt_ids),
                answer_tokens=len(ended.answer_ids),
            )


def _fail(generations: Iterable[LocalGeneration], cause: Exception) -> None:
    for generation in generations:
        generation.fail(cause)
