"""An engine that says what the test tells it to, through the same protocol as the real one."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import replace

from bot.chat.prompting import ChatMessage, fit_to_window
from bot.engine import (
    CannotSee,
    Completion,
    EngineState,
    Finish,
    GenerationFailed,
    GenerationRequest,
    PictureRequest,
    RenderedPrompt,
)
from bot.engine.refusals import Refusal
from bot.errors import EngineBusy, EngineClosed, VersionRefused
from storage.adapters.folder_store import AdapterRef

Interlude = Callable[[], Awaitable[None]]


class ScriptedGeneration:
    def __init__(self, engine: ScriptedEngine, adapter: AdapterRef | None, text: str, finish: Finish) -> None:
        self._engine = engine
        self._adapter = adapter
        self._text = text
        self._said = ""
        self._finish = finish
        self.cancelled = False
        self.cancelled_after: str | None = None
        """What was said when it was cancelled first."""

    async def __aiter__(self) -> AsyncIterator[str]:
        if self._adapter and (misfit := self._engine.misfits.get(self._adapter.digest)):
            self._engine.refusals[self._adapter] = misfit
            raise GenerationFailed("the answer failed") from VersionRefused(misfit)
        for delta in re.split("(?<=[ 。])", self._text):
            if self.cancelled or self._engine.closed:
                self._finish = Finish.CANCELLED
                return
            self._said += delta
            yield delta
            if self._engine.interlude is not None:
                await self._engine.interlude()
            if self._engine.failure is not None:
                raise self._engine.failure

    @property
    def completion(self) -> Completion:
        return Completion(
            text=self._said,
            finish=self._finish,
            prompt_tokens=7,
            answer_tokens=len(self._said.split()),
            queued_s=0.0,
            first_token_s=0.1,
            total_s=0.2,
        )

    def cancel(self) -> None:
        if not self.cancelled:
            self.cancelled_after = self._said
        self.cancelled = True


class ScriptedEngine:
    def __init__(self) -> None:
        self.answers: list[str] = []
        self.requests: list[GenerationRequest] = []
        self.generations: list[ScriptedGeneration] = []
        self.prepared: list[AdapterRef | None] = []
        self.finish = Finish.STOP
        self.interlude: Interlude | None = None
        self.failure: Exception | None = None
        self.full = False
        self.fail_lane: int | None = None
        """Requests of this lane are refused, as by a full queue."""
        self.finish_lane: tuple[int | None, Finish] = (None, Finish.STOP)
        """How answers of a lane end that end otherwise."""
        self.closed = False
        self.window = 10_000
        self.reported = EngineState()
        self.misfits: dict[str, str] = {}
        """{digest: why it answers with no version of these}"""
        self.refusals: dict[AdapterRef, str] = {}
        self.refusals_may_pass = False
        """Versions that it has just refused."""
        self.sees = False
        self.description = "A black cat on a red sofa."
        """What it says about pictures."""
        self.look_failure: Exception | None = None
        self.looks: list[PictureRequest] = []

    @property
    def waiting(self) -> int:
        return 0

    def state(self) -> EngineState:
        return replace(self.reported, refused_versions="; ".join(self.refusals.values()))

    async def look(self, request: PictureRequest) -> str:
        if not self.sees:
            raise CannotSee("it is blind")
        if self.full:
            raise EngineBusy(32)
        if self.look_failure is not None:
            raise GenerationFailed("the description failed") from self.look_failure
        self.looks.append(request)
        return self.description

    async def start(self) -> None:
        self.closed = False

    async def close(self, drain_s: float) -> None:
        self.closed = True

    async def render(self, messages: Sequence[ChatMessage]) -> RenderedPrompt:
        """Count a token per word."""

        def count(some: Sequence[ChatMessage]) -> int:
            return sum(len(message["content"].split()) for message in some)

        fitted = fit_to_window(messages, count, self.window)
        text = "".join(f"<{m['role']}>{m['content']}\n" for m in fitted.messages) + "<assistant>"
        return RenderedPrompt(text, fitted.messages, count(fitted.messages), fitted.dropped, fitted.shortened)

    def prepare(self, adapter: AdapterRef | None) -> None:
        self.prepared.append(adapter)

    def refusal_of(self, adapter: AdapterRef | None) -> Refusal | None:
        reason = self.refusals.get(adapter) if adapter else None
        return Refusal(reason, self.refusals_may_pass) if reason else None

    def submit(self, request: GenerationRequest) -> ScriptedGeneration:
        if self.closed:
            raise EngineClosed
        if self.full or request.lane == self.fail_lane:
            raise EngineBusy(32)
        self.requests.append(request)
        text = self.answers.pop(0) if self.answers else f"answer {len(self.requests)}"
        lane, finish = self.finish_lane
        finish = finish if request.lane == lane else self.finish
        self.generations.append(ScriptedGeneration(self, request.adapter, text, finish))
        return self.generations[-1]
