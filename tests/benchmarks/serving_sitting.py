"""A process in which one engine is measured: what it needs in memory is then its own."""

from __future__ import annotations

import asyncio
import os
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bot.chat.prompting import ChatMessage, Turn, to_messages
from storage.adapters.folder_store import AdapterRef
from storage.models.base_model import BaseModel
from storage.models.hardware import WAITING
from storage.settings.sections import Settings
from tests.benchmarks.apart import TellRow
from tests.benchmarks.contender import Contender, LlamaCpp
from tests.benchmarks.disturbance import busy_neighbour
from tests.benchmarks.report import Row
from tests.benchmarks.serving_load import MEMBER, Conversation, Crowd, Load, Told, ask, request_of, ticking

OPENVINO, TRANSFORMERS, PLAIN, LLAMA_CPP = "openvino", "transformers", "generate()", "llama.cpp"
BUSY_NEIGHBOUR = "with a busy neighbour"
SWAP_CHATS = 4
LONGEST_PREPARATION_S = 60.0
SWAP_STRENGTH = 0.9
WARM_UP_TOKENS = 8
SHORT_TURN = "Really? Tell me more."


@dataclass(frozen=True)
class Sitting:
    engine: str
    starter: AdapterRef
    adapters: tuple[AdapterRef, ...]
    """What answers, chats taking turns; without any, the base model."""
    loads: tuple[Load, ...]
    base: BaseModel
    settings: Settings
    script: Sequence[Conversation]
    lora: Path | None
    """The starter as llama.cpp reads it; None is no llama.cpp."""
    history_tokens: int = 0
    """Length of the conversation whose second turn is timed, and whether turns and swaps are: 0 leaves them out."""
    second_turns: int = 3
    """How many second turns are timed."""
    has_neighbour: bool = False
    """Whether the first load is measured once more, beside a busy neighbour."""

    def adapter(self, chat: int) -> AdapterRef | None:
        return self.adapters[chat % len(self.adapters)] if self.adapters else None


def hold(sitting: Sitting, tell: TellRow) -> None:
    """Tell a row for each thing measured."""
    asyncio.run(_hold(sitting, tell))


async def _hold(sitting: Sitting, tell: TellRow) -> None:
    engine = open_contender(sitting.engine, sitting.base, sitting.settings, sitting.adapter(0), sitting.lora)
    await engine.start()
    try:
        for adapter in sitting.adapters or (None,):
            await warm_up(engine, adapter, sitting.settings)
        # So that the memory of loading, and of comparing with transformers, is not that of the first chats.
        tell({"what": "start", "engine": sitting.engine, "adapters": len(sitting.adapters)})
        for load in sitting.loads:
            tell(await _measure_chats(engine, sitting, load))
        if sitting.has_neighbour:
            with busy_neighbour():
                row = await _measure_chats(engine, sitting, sitting.loads[0])
            tell(row | {"what": BUSY_NEIGHBOUR})
        if sitting.history_tokens:
            tell(await _measure_second_turn(engine, sitting))
            tell(await _measure_swap(engine, sitting))
    finally:
        await engine.close(0)


def open_contender(
    engine: str, base: BaseModel, settings: Settings, adapter: AdapterRef | None, lora: Path | None = None
) -> Contender:
    """Return the engine of that name; `adapter` and `lora`, the same for llama.cpp, are for those that have only one.

    Imports no more than the engine needs.
    """
    if engine == OPENVINO:
        from bot.engine.openvino.engine import OpenVinoEngine

        return OpenVinoEngine(base, settings.data.directory, settings.model, settings.generation)
    if engine == TRANSFORMERS:
        from bot.engine.transformers.engine import LocalEngine

        return LocalEngine(base.path, settings.model, settings.generation)
    for name in WAITING:
        os.environ.pop(name, None)  # the others' threads wait as they do by themselves
    if engine == PLAIN:
        from tests.benchmarks.plain_generate import PlainGenerate

        return PlainGenerate(base, settings, adapter)
    return LlamaCpp(base, settings, lora if adapter else None)


async def warm_up(engine: Contender, adapter: AdapterRef | None, settings: Settings) -> None:
    prompt = await engine.render([{"role": "user", "content": "Hi."}])
    await ask(engine, request_of(prompt.text, adapter, settings, seed=1, max_new_tokens=WARM_UP_TOKENS), set())


async def _measure_chats(engine: Contender, sitting: Sitting, load: Load) -> Row:
    crowd = Crowd(engine, sitting.settings, sitting.script, sitting.adapter, load)
    async with ticking() as late_ms:
        measured = await crowd.talk()
    return {
        "what": "chats",
        "engine": sitting.engine,
        "adapters": len(sitting.adapters),
        "chats": load.chats,
        "think_s": load.think_s,
        **measured,
        "max_loop_delay_ms": round(max(late_ms, default=0.0), 1),
    }


# The second turn of a long conversation


async def _measure_second_turn(engine: Contender, sitting: Sitting) -> Row:
    told = [await _two_turns(engine, sitting, number) for number in range(sitting.second_turns)]
    first, second = (statistics.median(times) for times in zip(*told, strict=True))
    return {
        "what": "second turn",
        "engine": sitting.engine,
        "history_tokens": sitting.history_tokens,
        "conversations": len(told),
        "first_turn_first_token_s": round(first, 3),
        "second_turn_first_token_s": round(second, 3),
    }


async def _two_turns(engine: Contender, sitting: Sitting, number: int) -> tuple[float, float]:
    """Return the seconds to the first token of two turns of a conversation that the engine never saw."""
    turns = await _long_conversation(engine, sitting, number)
    first_s, answer = await _first_token_s(engine, sitting, turns)
    second_s, _ = await _first_token_s(engine, sitting, [*turns, Turn(None, answer), Turn(MEMBER, SHORT_TURN)])
    return first_s, second_s


async def _long_conversation(engine: Contender, sitting: Sitting, number: int) -> list[Turn]:
    words = [message for conversation in sitting.script[number :: sitting.second_turns] for message in conversation]
    turns = [Turn(MEMBER, words[0])]
    for said, heard in zip(words[1::2], words[2::2], strict=False):
        prompt = await engine.render(_messages(turns, sitting.settings))
        if prompt.tokens >= sitting.history_tokens:
            break
        turns += [Turn(None, said), Turn(MEMBER, heard)]
    return turns


async def _first_token_s(engine: Contender, sitting: Sitting, turns: Sequence[Turn]) -> tuple[float, str]:
    prompt = await engine.render(_messages(turns, sitting.settings))
    told, answer = await ask(engine, request_of(prompt.text, sitting.adapter(0), sitting.settings, seed=1), set())
    return told.first_token_s, answer


def _messages(turns: Sequence[Turn], settings: Settings) -> list[ChatMessage]:
    return to_messages(settings.chat.system_prompt, turns)


# A new version, under load


async def _measure_swap(engine: Contender, sitting: Sitting) -> Row:
    """While chats talk, prepare a version, as the bot does with a new one, then switch new requests to it."""
    window_s = sitting.loads[-1].window_s
    load = replace(sitting.loads[-1], chats=SWAP_CHATS, window_s=window_s + LONGEST_PREPARATION_S)
    old, new = sitting.adapters[0], replace(sitting.adapters[0], strength=SWAP_STRENGTH)
    switched_at: float | None = None
    crowd = Crowd(engine, sitting.settings, sitting.script, lambda _chat: new if switched_at else old, load)
    talking = asyncio.create_task(crowd.talk())
    await asyncio.sleep(window_s / 2)
    prepare_s = await _prepare(engine, new, sitting.settings)
    switched_at = time.perf_counter()
    await asyncio.sleep(window_s / 2)
    crowd.stop()
    measured = await talking
    told = [one for one in crowd.told if one.adapter == new and one.first_token_at]
    return {
        "what": "swap",
        "engine": sitting.engine,
        "chats": load.chats,
        "think_s": load.think_s,
        **measured,
        "prepare_s": round(prepare_s, 3),
        "answers_by_new": len(told),
        **_first_after(switched_at, told),
    }


def _first_after(switched_at: float, told: Sequence[Told]) -> Row:
    """Return when the new version was first asked, and said its first and last token, in seconds after the switch."""
    if not told:
        return dict.fromkeys(("asked_s", "first_token_s", "last_token_s"))
    first = min(told, key=lambda one: one.asked_at + one.first_token_s)
    return {
        "asked_s": round(first.asked_at - switched_at, 3),
        "first_token_s": round(first.asked_at + first.first_token_s - switched_at, 3),
        "last_token_s": round(first.ended_at - switched_at, 3),
    }


async def _prepare(engine: Contender, adapter: AdapterRef, settings: Settings) -> float:
    """Return the seconds until a version is ready, which an answer of it shows."""
    began = time.perf_counter()
    engine.prepare(adapter)
    await warm_up(engine, adapter, settings)
    return time.perf_counter() - began
