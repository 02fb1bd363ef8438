"""Engines generate answers; this is their common interface. This module imports no model library."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

from bot.engine.refusals import Refusal
from bot.errors import BotError
from storage.adapters.folder_store import AdapterRef
from storage.models.answer_stream import AnswerStream
from storage.sentences import Sentence

if TYPE_CHECKING:  # a version's process, which imports this module, needs no database
    from PIL.Image import Image as Picture

    from bot.chat.prompting import ChatMessage


@dataclass(frozen=True)
class Sampling:
    temperature: float
    """0 is greedy."""
    top_p: float
    """Total probability of the smallest set of tokens to sample from."""
    presence_penalty: float
    """Subtracted from the scores of tokens that the answer already contains; 0 disables it."""
    max_new_tokens: int


@dataclass(frozen=True)
class GenerationRequest:
    prompt: str
    """The rendered prompt with its special tokens; the engine adds none."""
    seed: int
    sampling: Sampling
    adapter: AdapterRef | None
    """The version's adapter; None is the base model."""
    lane: int = 0
    """Requests in the same lane wait for each other; lanes take turns, so that a busy one never starves another.

    A personality's answers have its id as their lane.
    """


SUMMARIES_LANE = -1
"""Summaries take turns with the personalities' answers: at most one summary per round of turns."""


def pairs_lane(personality_id: int) -> int:
    """Return the lane of a personality's pairs for `/choose`; it takes turns with the lane of its answers."""
    return SUMMARIES_LANE - personality_id


@dataclass(frozen=True)
class PictureRequest:
    picture: Picture
    """The picture, in RGB."""
    words: str
    """The question about the picture for the base."""
    max_tokens: int
    timeout_s: float
    lane: int


class Finish(StrEnum):
    STOP = "stop"
    LENGTH = "length"
    THOUGHT = "thought"
    """The output is only a thought, which reached its limit or ended the turn."""
    TIMEOUT = "timeout"
    CANCELLED = "cancelled"


def finish_of(answer: AnswerStream, *, has_stopped: bool) -> Finish | None:
    """Return the finish of an answer that is at a limit or whose model `has_stopped`; None if the answer goes on."""
    if not has_stopped and not answer.is_at_limit:
        return None
    if answer.is_silent:
        return Finish.THOUGHT
    return Finish.STOP if has_stopped else Finish.LENGTH


@dataclass(frozen=True)
class Completion:
    text: str
    finish: Finish
    prompt_tokens: int
    """0 if the answer ended before its turn."""
    answer_tokens: int
    """Excludes a thought, and the token that ends an answer."""
    queued_s: float
    first_token_s: float | None
    """Seconds from submission to the first token; None if there was none."""
    total_s: float


@dataclass(frozen=True)
class RenderedPrompt:
    text: str
    messages: tuple[ChatMessage, ...]
    """The messages that fit."""
    tokens: int
    dropped: int
    shortened: bool


class GenerationFailed(BotError):
    """The answer failed; the cause is the error."""


class CannotSee(BotError):
    """The engine does not look at pictures; the text says why."""


class Generation(Protocol):
    """One answer: iterate over its text deltas, then read `completion`."""

    def __aiter__(self) -> AsyncIterator[str]:
        """Iterate over the text as it is generated; raises GenerationFailed."""
        ...

    @property
    def completion(self) -> Completion:
        """The whole answer; raises RuntimeError before the iteration has ended without an error."""
        ...

    def cancel(self) -> None:
        """End the answer soon with the text so far; the iteration then ends as usual."""
        ...


async def written(generation: Generation) -> str:
    """Wait for the end and return the text; raises BotError if it is empty or was interrupted."""
    try:
        async for _ in generation:
            pass
    finally:
        generation.cancel()
    completion = generation.completion
    text = completion.text.strip()
    if not text or completion.finish not in (Finish.STOP, Finish.LENGTH):
        raise BotError(f"the model wrote nothing ({completion.finish})")
    return text


@dataclass(frozen=True)
class EngineState:
    resident_versions: int = 0
    """Versions in memory; includes the base model if it takes its own memory."""
    failure_reason: str = ""
    """The reason why the engine cannot answer now, without a full stop; empty if it can. Admins are alerted."""
    pause_reason: str = ""
    """The reason why the engine pauses although nothing is wrong, without a full stop."""
    name: str = "the model"
    fallback: str = ""
    """The reason why OpenVINO failed although it supports the base, without a full stop; admins are alerted."""
    unsupported: str = ""
    """The reason why OpenVINO, which would be faster, does not support the base, without a full stop."""
    refused_versions: str = ""
    """The versions that cannot answer, with reasons, without a full stop; admins are alerted."""

    def who_answers(self) -> str:
        if not self.is_slow:
            return Sentence("{name} answers", name=self.name)
        return Sentence(
            "{name} answers instead of OpenVINO, more slowly: {reason}",
            name=self.name,
            reason=self.fallback or self.unsupported,
        )

    @property
    def is_slow(self) -> bool:
        """Whether a faster engine would answer if it could."""
        return bool(self.fallback or self.unsupported)


class Engine(Protocol):
    async def start(self) -> None:
        """Load the model; raises EngineStopped if that fails."""
        ...

    async def close(self, drain_s: float) -> None:
        """Refuse new requests, give accepted ones up to `drain_s` seconds to finish, then cancel them."""
        ...

    async def render(self, messages: Sequence[ChatMessage]) -> RenderedPrompt:
        """Fit the messages to the context window and render them; raises ValueError if they cannot fit."""
        ...

    def prepare(self, adapter: AdapterRef | None) -> None:
        """Load a version ahead of its first request. Before `start`, it is loaded as part of the start."""
        ...

    def refusal_of(self, adapter: AdapterRef | None) -> Refusal | None:
        """Return the reason why the engine has just refused a version, if it has. Any thread may call this."""
        ...

    def submit(self, request: GenerationRequest) -> Generation:
        """Queue a request; raises EngineBusy when its lane is full and EngineClosed when closed.

        The cause of an answer's GenerationFailed is VersionRefused if only this version cannot answer.
        """
        ...

    @property
    def waiting(self) -> int:
        """Number of requests that wait for their turn."""
        ...

    @property
    def sees(self) -> bool:
        """Whether the base can see pictures; until the engine has started, whether it might."""
        ...

    async def look(self, request: PictureRequest) -> str:
        """Return the base's description of a picture, without an adapter.

        Raises CannotSee, EngineBusy, EngineClosed, or another BotError if it says nothing in time.
        """
        ...

    def state(self) -> EngineState: ...


class Wrapper(ABC):
    """An engine that passes its work on to another engine, if it has one."""

    _engine: Engine | None = None

    @property
    def waiting(self) -> int:
        return self._engine.waiting if self._engine else 0

    async def render(self, messages: Sequence[ChatMessage]) -> RenderedPrompt:
        """Fit and render once `_wait` returns; raises as `_wait` and `_running`."""
        await self._wait()
        return await self._running.render(messages)

    async def look(self, request: PictureRequest) -> str:
        """Look at a picture; waits and raises as `render`, and raises as the engine."""
        await self._wait()
        return await self._running.look(request)

    def refusal_of(self, adapter: AdapterRef | None) -> Refusal | None:
        return self._engine.refusal_of(adapter) if self._engine else None

    def submit(self, request: GenerationRequest) -> Generation:
        return self._running.submit(request)

    @abstractmethod
    async def _wait(self) -> None:
        """Wait for the engine; raises the error that it failed with."""

    @property
    @abstractmethod
    def _running(self) -> Engine:
        """The engine; raises BotError if it cannot answer now."""
