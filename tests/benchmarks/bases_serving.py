"""How soon and how fast one engine answers on a large base, measured in a process of its own."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bot.chat.prompting import Turn, to_messages
from bot.engine import Completion
from storage.adapters.folder_store import AdapterRef
from storage.models.base_model import BaseModel
from storage.models.hardware import silence_transformers
from storage.settings.sections import Settings
from tests.benchmarks.apart import TellRow, peak_gpu_mib, used_gpu_mib
from tests.benchmarks.contender import Contender, LlamaCpp
from tests.benchmarks.report import Row
from tests.benchmarks.serving_load import MEMBER, completed, request_of
from tests.benchmarks.serving_sitting import LLAMA_CPP, PLAIN, open_contender

VLLM = "vLLM"
GREEDY_TOKENS = 16
SAMPLE_CHARS = 2_000
TASK = "\n\nCount from 1 to 100."
"""At the end of each message, so that trained weights do not end an answer before it has its length."""


@dataclass(frozen=True)
class Lengths:
    """What is asked, in tokens."""

    answer: int = 48
    """Of an answer while nobody else waits."""
    answers: int = 3
    """How many of those, one after the other."""
    together: int = 8
    """Answers at once."""
    answer_together: int = 32
    prompt: int = 120
    """Of a prompt with the system prompt, where that leaves room for a message."""
    long_prompt: int = 1_000


@dataclass(frozen=True)
class Serving:
    engine: str
    base: BaseModel
    settings: Settings
    versions: tuple[AdapterRef, AdapterRef]
    lengths: Lengths
    text: str
    """What members say."""
    vllm: str = ""
    """The program of that name."""
    gguf: Path | None = None
    """The base as llama.cpp reads it."""
    lora: Path | None = None
    """The first version as llama.cpp reads it; None: it answers as the base."""


def serve(plan: Serving, tell: TellRow) -> None:
    """Tell a row for each thing measured."""
    with silence_transformers():  # imported once, before the engine's threads
        pass
    asyncio.run(_serve(plan, tell))


async def _serve(plan: Serving, tell: TellRow) -> None:
    asked = Asked(_open(plan), plan)
    first, second = plan.versions

    async def measure(what: str, work: Awaitable[Row | None]) -> None:
        began = time.perf_counter()
        row = await work or {"seconds": round(time.perf_counter() - began, 3)}
        tell({"what": what} | row | {"gpu_mib": used_gpu_mib() if plan.engine == VLLM else peak_gpu_mib()})

    try:
        await measure("start", asked.engine.start())
        await measure("version", asked.version(first))
        await measure("alone", asked.alone())
        await measure("together", asked.together())
        await measure("long prompt", asked.long_prompt())
        if plan.engine not in (PLAIN, LLAMA_CPP):
            await measure("swap", asked.version(second))
            await measure("swap back", asked.version(first))
            await measure("difference", asked.difference())
    finally:
        await asked.engine.close(0)


def _open(plan: Serving) -> Contender:
    if plan.engine == LLAMA_CPP:
        return LlamaCpp(plan.base, plan.settings, plan.lora, plan.gguf)
    if plan.engine != VLLM:
        return open_contender(plan.engine, plan.base, plan.settings, plan.versions[0])
    from tests.benchmarks.vllm_server import VllmServer

    return VllmServer(plan.vllm, plan.base, plan.settings)


class Asked:
    """An engine, and what members ask it."""

    def __init__(self, engine: Contender, plan: Serving) -> None:
        self.engine = engine
        self._plan = plan
        self._lengths = plan.lengths
        self._asked = 0

    async def version(self, version: AdapterRef) -> None:
        """Get the version ready as the bot does with a new one; its first token shows that it is."""
        self.engine.prepare(version)
        await self._answer(version, 1)

    async def alone(self) -> Row:
        told = [await self._answer(self._plan.versions[0], self._lengths.answer) for _ in range(self._lengths.answers)]
        speeds = [one.answer_tokens / one.total_s for one in told]
        return {"tokens_per_s": round(statistics.median(speeds), 2), "answer_tokens": _mean_tokens(told)}

    async def together(self) -> Row:
        version, lengths = self._plan.versions[0], self._lengths
        prompts = [await self._next_prompt(lengths.prompt) for _ in range(lengths.together)]
        began = time.perf_counter()
        told = await asyncio.gather(*(self._complete(one, version, lengths.answer_together) for one in prompts))
        seconds = time.perf_counter() - began
        tokens_per_s = round(sum(one.answer_tokens for one in told) / seconds, 2)
        return {"tokens_per_s": tokens_per_s, "answer_tokens": _mean_tokens(told)}

    async def long_prompt(self) -> Row:
        told = await self._answer(self._plan.versions[0], 1, prompt_tokens=self._lengths.long_prompt)
        seconds = told.first_token_s or told.total_s
        return {
            "first_token_s": round(seconds, 3),
            "prompt_tokens": told.prompt_tokens,
            "prompt_tokens_per_s": round(told.prompt_tokens / seconds, 1),
        }

    async def difference(self) -> Row:
        """Say whether the versions answer differently: a server may answer as the bare base under their names."""
        prompt = await self._next_prompt(self._lengths.prompt)
        texts = [(await self._complete(prompt, one, GREEDY_TOKENS, greedy=True)).text for one in self._plan.versions]
        return {"versions_differ": texts[0] != texts[1]}

    async def _answer(self, version: AdapterRef, tokens: int, *, prompt_tokens: int = 0) -> Completion:
        prompt = await self._next_prompt(prompt_tokens or self._lengths.prompt)
        return await self._complete(prompt, version, tokens)

    async def _complete(self, prompt: str, version: AdapterRef, tokens: int, *, greedy: bool = False) -> Completion:
        settings = self._plan.settings
        if greedy:
            surest = settings.generation.model_copy(update={"temperature": 0.0, "presence_penalty": 0.0})
            settings = settings.model_copy(update={"generation": surest})
        request = request_of(prompt, version, settings, seed=self._asked, max_new_tokens=tokens)
        return await completed(self.engine.submit(request))

    async def _next_prompt(self, tokens: int) -> str:
        """Return a prompt of about so many tokens; no two begin alike after the system prompt."""
        self._asked += 1
        start = self._asked * 97 % len(self._plan.text)
        text = (self._plan.text * 3)[start:]
        least, _ = await self._render(TASK)
        sampled, _ = await self._render(text[:SAMPLE_CHARS])
        chars = SAMPLE_CHARS * (tokens - least) // max(1, sampled - least)
        return (await self._render(text[:chars].strip() + TASK))[1]

    async def _render(self, message: str) -> tuple[int, str]:
        turns = [Turn(MEMBER, message)]
        rendered = await self.engine.render(to_messages(self._plan.settings.chat.system_prompt, turns))
        return rendered.tokens, rendered.text


def _mean_tokens(told: Sequence[Completion]) -> float:
    return round(statistics.mean(one.answer_tokens for one in told), 1)
