"""The queue that all engines share, and each answer from its request to its end."""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Generic, Self, TypeVar

from bot.chat.prompting import ChatMessage
from bot.engine import (
    CannotSee,
    Completion,
    Finish,
    GenerationFailed,
    GenerationRequest,
    PictureRequest,
    RenderedPrompt,
)
from bot.engine.rendering import Renderer
from bot.errors import EngineBusy, EngineClosed, EngineStopped
from storage.runtime.requests import current_request
from storage.settings.sections import GenerationSettings

Waiting = TypeVar("Waiting", bound="QueuedGeneration")


def require_room(waiting: Iterable[QueuedGeneration], lane: int, most: int) -> None:
    """Raise EngineBusy if `most` requests of the lane are already waiting."""
    before = sum(one.request.lane == lane for one in waiting)
    if before >= most:
        raise EngineBusy(before)


class Turns:
    """Decides whose turn it is: lanes take turns, each lane's oldest request first."""

    def __init__(self) -> None:
        self._served_at: dict[int, float] = {}
        """{lane: time of its last turn, from time.perf_counter()}"""

    def in_order(self, waiting: Iterable[Waiting]) -> list[Waiting]:
        """Return the requests, given oldest first, by lane: the lane whose last turn is longest ago comes first."""
        return sorted(waiting, key=lambda one: self._served_at.get(one.request.lane, 0.0))

    def take(self, lane: int) -> None:
        self._served_at[lane] = time.perf_counter()


class QueuedGeneration:
    """One answer; only `request` and `submitted_at` may be used outside the event loop."""

    def __init__(self, request: GenerationRequest, on_cancel: Callable[[Self], None]) -> None:
        self.request = request
        self.request_id = current_request()
        """ID of the message that it answers, for the log of the thread or process that does the work."""
        # Not time.monotonic: a Discord simulator moves that clock.
        self.submitted_at = time.perf_counter()
        self._on_cancel = partial(on_cancel, self)
        self._text: list[str] = []
        self._read = 0
        self._changed = asyncio.Event()
        self._completion: Completion | None = None
        self._failure: Exception | None = None

    def __aiter__(self) -> QueuedGeneration:
        return self

    async def __anext__(self) -> str:
        while self._read == len(self._text):
            if self._failure:
                raise GenerationFailed(f"the answer failed: {self._failure}") from self._failure
            if self._completion:
                raise StopAsyncIteration
            self._changed.clear()
            await self._changed.wait()
        unread = "".join(self._text[self._read :])
        self._read = len(self._text)
        return unread

    @property
    def completion(self) -> Completion:
        if self._completion is None:
            raise RuntimeError("an answer has a completion only after its iteration has ended without an error")
        return self._completion

    @property
    def has_ended(self) -> bool:
        return self._completion is not None or self._failure is not None

    def cancel(self) -> None:
        self._on_cancel()

    def extend(self, delta: str) -> None:
        if delta:
            self._text.append(delta)
            self._changed.set()

    def complete(
        self,
        finish: Finish,
        ended_at: float,
        *,
        started_at: float | None = None,
        first_token_at: float | None = None,
        prompt_tokens: int = 0,
        answer_tokens: int = 0,
    ) -> None:
        """End the answer; `started_at` is None if its turn never came. Times are from time.perf_counter()."""
        self._completion = Completion(
            text="".join(self._text),
            finish=finish,
            prompt_tokens=prompt_tokens,
            answer_tokens=answer_tokens,
            queued_s=(started_at or ended_at) - self.submitted_at,
            first_token_s=first_token_at - self.submitted_at if first_token_at else None,
            total_s=ended_at - self.submitted_at,
        )
        self._changed.set()

    def fail(self, cause: Exception) -> None:
        if self._completion is None:
            self._failure = cause
            self._changed.set()


class QueueingEngine(ABC, Generic[Waiting]):
    """An engine that manages answers on the event loop while others compute them. It does not look at pictures.

    A subclass calls `_settle` whenever an answer may start or has ended.
    """

    sees = False

    def __init__(self, generation: GenerationSettings) -> None:
        self._generation = generation
        self._waiting: list[Waiting] = []
        self._turns = Turns()
        self._timers: dict[Waiting, asyncio.TimerHandle] = {}
        """The time limits of all answers that wait or run."""
        self._is_open = False
        self._is_closing = False
        self._idle = asyncio.Event()
        self._renderer: Renderer | None = None

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    async def render(self, messages: Sequence[ChatMessage]) -> RenderedPrompt:
        if self._renderer is None:
            raise EngineStopped("the engine is not started")
        return await asyncio.to_thread(self._renderer.render, messages)

    async def look(self, request: PictureRequest) -> str:  # noqa: ARG002 (named by the protocol)
        raise CannotSee("only the transformers engine looks at pictures")

    @abstractmethod
    def _start_waiting(self) -> None:
        """Start waiting requests on free places."""

    @abstractmethod
    def _interrupt(self, generation: Waiting, finish: Finish) -> None:
        """End a running answer early."""

    def _queue(self, generation: Waiting) -> Waiting:
        if not self._is_open:
            raise EngineClosed
        require_room(self._waiting, generation.request.lane, self._generation.queue_size)
        self._timers[generation] = asyncio.get_running_loop().call_later(
            self._generation.timeout_s, self._end, generation, Finish.TIMEOUT
        )
        self._waiting.append(generation)
        self._settle()
        return generation

    def _cancel(self, generation: Waiting) -> None:
        self._end(generation, Finish.CANCELLED)

    def _end(self, generation: Waiting, finish: Finish) -> None:
        """End an answer early, running or waiting."""
        if generation.has_ended:
            return
        if generation in self._waiting:
            self._waiting.remove(generation)
            generation.complete(finish, time.perf_counter())
        else:
            self._interrupt(generation, finish)
        self._settle()

    def _settle(self) -> None:
        self._start_waiting()
        for generation in [one for one in self._timers if one.has_ended]:
            self._timers.pop(generation).cancel()
        if self._timers:
            self._idle.clear()
        else:
            self._idle.set()

    async def _drain(self, drain_s: float) -> None:
        """Refuse new requests, and cancel the answers that have not ended after `drain_s` seconds."""
        self._is_open, self._is_closing = False, True
        self._settle()
        try:
            await asyncio.wait_for(self._idle.wait(), drain_s)
        except TimeoutError:
            for generation in list(self._timers):
                self._cancel(generation)
