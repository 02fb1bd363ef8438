"""Chats that talk with an engine at once, and what their members wait for."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from bot.chat.prompting import Turn, to_messages
from bot.engine import Completion, Finish, Generation, GenerationFailed, GenerationRequest, Sampling
from bot.errors import EngineBusy
from storage.adapters.folder_store import AdapterRef
from storage.settings.sections import Settings
from tests.benchmarks.contender import Contender

MEMBER = "Robin"
TICK_S = 0.005
FEWEST_FOR_P95 = 20
"""With fewer answers, the 95th percentile would be the slowest one."""

Conversation = Sequence[str]
"""What one member says, turn by turn."""


@dataclass(frozen=True)
class Load:
    chats: int
    """How many talk at once."""
    window_s: float
    """Seconds in which messages are sent, and tokens counted."""
    drain_s: float
    """Seconds that unfinished answers get after the window."""
    think_s: float
    """Mean seconds between an answer and the next message; exponentially distributed. 0 is a full load, no pauses."""
    seed: int


@dataclass(frozen=True)
class Told:
    """An answer as its chat saw it; times are readings of time.perf_counter()."""

    adapter: AdapterRef | None
    asked_at: float
    first_token_at: float | None
    ended_at: float
    tokens: int
    failed: bool
    finished: bool

    @property
    def first_token_s(self) -> float:
        """Seconds to the first token, or those waited in vain, so that no engine gains by giving up."""
        return (self.first_token_at or self.ended_at) - self.asked_at

    def tokens_until(self, until: float) -> float:
        """Return the tokens that had come by then, supposing that they came evenly."""
        if self.first_token_at is None or until <= self.first_token_at:
            return 0.0
        span = self.ended_at - self.first_token_at
        return self.tokens * min(1.0, (until - self.first_token_at) / span) if span > 0 else self.tokens


class Crowd:
    """Members who each hold one conversation after another, and wait for an answer before they write again."""

    def __init__(
        self,
        engine: Contender,
        settings: Settings,
        script: Sequence[Conversation],
        choose: Callable[[int], AdapterRef | None],
        load: Load,
    ) -> None:
        """`choose` returns the version that answers a chat, by its number."""
        self._engine = engine
        self._settings = settings
        self._script = script
        self._choose = choose
        self._load = load
        self._running: set[Generation] = set()
        self._until = 0.0
        self.told: list[Told] = []

    async def talk(self) -> dict[str, Any]:
        """Talk for the window, or until `stop`, then return the measures."""
        began = time.perf_counter()
        self._until = began + self._load.window_s
        chats = [asyncio.create_task(self._chat(number), name=f"chat {number}") for number in range(self._load.chats)]
        await asyncio.wait(chats, timeout=self._load.window_s + self._load.drain_s)
        for generation in list(self._running):
            generation.cancel()
        await asyncio.gather(*chats)
        return measures(self.told, self._until)

    def stop(self) -> None:
        """End the window: what is being answered is still waited for."""
        self._until = time.perf_counter()

    async def _chat(self, number: int) -> None:
        rng = random.Random(f"{self._load.seed} {self._load.chats} {number}")
        while True:
            turns: list[Turn] = []
            for message in rng.choice(self._script):
                think_s = rng.expovariate(1.0) * self._load.think_s
                if think_s >= self._until - time.perf_counter():
                    return
                await asyncio.sleep(think_s)
                if time.perf_counter() >= self._until:
                    return
                turns.append(Turn(MEMBER, message))
                turns.append(Turn(None, await self._ask(turns, number, rng.getrandbits(31))))

    async def _ask(self, turns: Sequence[Turn], number: int, seed: int) -> str:
        recent = turns[-self._settings.chat.history_messages - 1 :]
        prompt = await self._engine.render(to_messages(self._settings.chat.system_prompt, recent))
        request = request_of(prompt.text, self._choose(number), self._settings, seed=seed)
        told, text = await ask(self._engine, request, self._running)
        self.told.append(told)
        return text


def request_of(
    prompt: str,
    adapter: AdapterRef | None,
    settings: Settings,
    *,
    seed: int,
    max_new_tokens: int | None = None,
    lane: int = 0,
) -> GenerationRequest:
    generation = settings.generation
    sampling = Sampling(
        temperature=generation.temperature,
        top_p=generation.top_p,
        presence_penalty=generation.presence_penalty,
        max_new_tokens=max_new_tokens or generation.max_new_tokens,
    )
    return GenerationRequest(prompt=prompt, seed=seed, sampling=sampling, adapter=adapter, lane=lane)


async def ask(engine: Contender, request: GenerationRequest, running: set[Generation]) -> tuple[Told, str]:
    """Return a request's measurements and its answer; until then it is among `running`."""
    asked_at = time.perf_counter()
    try:
        generation = engine.submit(request)
        running.add(generation)
        try:
            done = await completed(generation)
        finally:
            running.remove(generation)
    except (EngineBusy, GenerationFailed):
        return Told(request.adapter, asked_at, None, time.perf_counter(), 0, failed=True, finished=False), ""
    told = Told(
        adapter=request.adapter,
        asked_at=asked_at,
        first_token_at=asked_at + done.first_token_s if done.first_token_s is not None else None,
        ended_at=asked_at + done.total_s,
        tokens=done.answer_tokens,
        failed=False,
        finished=done.finish in (Finish.STOP, Finish.LENGTH),
    )
    return told, done.text


async def completed(generation: Generation) -> Completion:
    async for _ in generation:
        pass
    return generation.completion


def measures(told: Sequence[Told], until: float) -> dict[str, Any]:
    """Return waits in seconds, and tokens for each second of the window in which somebody waited."""
    answered = [one for one in told if not one.failed]
    finished = [one for one in answered if one.finished]
    busy_s = _covered([(one.asked_at, min(one.ended_at, until)) for one in answered])
    firsts, totals = [one.first_token_s for one in answered], [one.ended_at - one.asked_at for one in answered]
    tokens_per_s = sum(one.tokens_until(until) for one in answered) / busy_s if busy_s else None
    length = float(np.mean([one.tokens for one in finished])) if finished else None
    return {
        "answers": len(finished),
        "unfinished": len(answered) - len(finished),
        "failed": len(told) - len(answered),
        "first_token_p50_s": quantile(firsts, 0.5),
        "first_token_p95_s": quantile(firsts, 0.95),
        "last_token_p50_s": quantile(totals, 0.5),
        "last_token_p95_s": quantile(totals, 0.95),
        "tokens_per_s": round(tokens_per_s, 1) if tokens_per_s is not None else None,
        "tokens_per_answer": round(length, 1) if length is not None else None,
    }


def _covered(spans: Sequence[tuple[float, float]]) -> float:
    """Return how much of the time line the spans cover together."""
    covered, until = 0.0, 0.0
    for start, end in sorted(spans):
        covered += max(0.0, end - max(start, until))
        until = max(until, end)
    return covered


def quantile(values: Sequence[float], share: float) -> float | None:
    """Return None where there are too few values to know."""
    fewest = FEWEST_FOR_P95 if share > 0.9 else 1
    return round(float(np.quantile(values, share)), 3) if len(values) >= fewest else None


@asynccontextmanager
async def ticking() -> AsyncIterator[list[float]]:
    """Yield a list of how late, in milliseconds, the event loop came back to someone who sleeps for TICK_S seconds."""
    late_ms: list[float] = []

    async def tick() -> None:
        while True:
            asked = time.perf_counter()
            await asyncio.sleep(TICK_S)
            late_ms.append((time.perf_counter() - asked - TICK_S) * 1_000)

    ticker = asyncio.create_task(tick(), name="ticker")
    try:
        yield late_ms
    finally:
        ticker.cancel()
