"""What the bot asks of an engine, whichever it is."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, runtime_checkable

from bot.chat.prompting import ChatMessage
from bot.errors import BotError
from storage.adapters.folder_store import AdapterRef


@dataclass(frozen=True)
class Sampling:
    temperature: float
    """0 is greedy."""
    top_p: float
    """Probability of the smallest set of tokens that is sampled from."""
    presence_penalty: float
    """Subtracted from the scores of tokens that the answer already holds; 0 is off."""
    max_new_tokens: int


@dataclass(frozen=True)
class GenerationRequest:
    prompt: str
    """The rendered prompt; its special tokens are its own, none are added."""
    seed: int
    sampling: Sampling
    adapter: AdapterRef | None
    """None is the base model."""
    lane: int = 0
    """Requests of one lane wait for each other; lanes take turns, so that a busy one never starves another."""


class Finish(StrEnum):
    STOP = "stop"
    LENGTH = "length"
    TIMEOUT = "timeout"
    CANCELLED = "cancelled"


@dataclass(frozen=True)
class Completion:
    text: str
    finish: Finish
    prompt_tokens: int
    """0 where the answer ended before its turn came."""
    answer_tokens: int
    """Without the token that ends an answer."""
    queued_s: float
    first_token_s: float | None
    """Seconds from submission to the first token; None without one."""
    total_s: float


@dataclass(frozen=True)
class RenderedPrompt:
    text: str
    messages: tuple[ChatMessage, ...]
    """The messages that fitted."""
    tokens: int
    dropped: int
    shortened: bool


class GenerationFailed(BotError):
    """The answer was given up because of an error, its cause."""


class Generation(Protocol):
    """One answer: iterate over its text deltas, then read `completion`."""

    def __aiter__(self) -> AsyncIterator[str]:
        """Iterate over the text as it comes; raises GenerationFailed."""
        ...

    @property
    def completion(self) -> Completion:
        """The whole answer; raises RuntimeError before iteration has ended well."""
        ...

    def cancel(self) -> None:
        """End the answer soon, with what it has; the iteration then ends as usual."""
        ...


class Engine(Protocol):
    async def start(self) -> None:
        """Load the model; raises EngineStopped where that fails."""
        ...

    async def close(self, drain_s: float) -> None:
        """Refuse new requests, let accepted ones finish for up to `drain_s` seconds, then cancel them."""
        ...

    async def render(self, messages: Sequence[ChatMessage]) -> RenderedPrompt:
        """Fit the messages to the context window and render them; raises ValueError where they cannot fit."""
        ...

    def prepare(self, adapter: AdapterRef | None) -> None:
        """Load a version that will be asked for soon, so that its first answer need not wait.

        Before the start, it is loaded with it.
        """
        ...

    def submit(self, request: GenerationRequest) -> Generation:
        """Queue a request; raises EngineBusy when its lane is full and EngineClosed when closed."""
        ...

    @property
    def waiting(self) -> int:
        """How many requests wait for their turn."""
        ...


@dataclass(frozen=True)
class EngineState:
    resident_versions: int = 0
    """Versions in memory, the base model among them where it has a place of its own."""
    trouble: str = ""
    """Why it cannot answer now, without a full stop; empty where it can. Admins are told of it."""
    lacks: str = ""
    """What is not well although it answers; admins are told of that too."""
    name: str = "the model"
    """Who answers."""
    fallback: str = ""
    """Why OpenVINO, which was to answer, does not, without a full stop; admins are told of that too."""

    def who_answers(self) -> str:
        reason = f" in place of OpenVINO, more slowly: {self.fallback}" if self.fallback else ""
        return f"{self.name} answers{reason}"


@runtime_checkable
class Reporting(Protocol):
    """An engine that can say how it is; it need not."""

    def state(self) -> EngineState: ...


def engine_state(engine: object) -> EngineState:
    return engine.state() if isinstance(engine, Reporting) else EngineState()
