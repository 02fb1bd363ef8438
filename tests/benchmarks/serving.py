"""`reactune bench serving`: how soon and how fast are answers, beside plain `generate()` and llama.cpp?

Every engine answers the same people in a separate process: N chats at once, each of which goes on once it is
answered. A ratio of tokens per second is ours over the other's; that of the second turn is the time to the first token
with the conversation's beginning in the cache over the time without; that of the busy neighbour our tokens per second
beside a process that keeps a core busy over those without. Ratios that other work disturbed are left out.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from bot.engine import Engine
from bot.engine.selection import start_engine
from storage.adapters.folder_store import AdapterRef
from storage.models.base_model import BUNDLED, BaseModel, resolve_base_model
from storage.models.gguf import gguf_name, write_gguf
from storage.settings.loading import load_settings
from storage.settings.sections import Settings
from tests.benchmarks.apart import rows_apart
from tests.benchmarks.disturbance import Ratio, compare, ratio_of
from tests.benchmarks.people import conversations
from tests.benchmarks.report import Row, notes, report
from tests.benchmarks.serving_load import Conversation, Load
from tests.benchmarks.serving_sitting import (
    BUSY_NEIGHBOUR,
    LLAMA_CPP,
    OPENVINO,
    PLAIN,
    TRANSFORMERS,
    Sitting,
    hold,
)
from tests.llama_server import is_installed

STARTER = Path(__file__).resolve().parents[2] / "personalities" / "starters" / "default"
STRENGTHS = (1.0, 0.75, 0.5, 0.25)
ENGINES = (OPENVINO, TRANSFORMERS, PLAIN, LLAMA_CPP)
OURS = (OPENVINO, TRANSFORMERS)
MANY_ADAPTERS_CHATS = 8
NEW_TOKENS = 48
FEWEST_TURNS = 4


def run(
    *,
    base: str = BUNDLED,
    starter: Path = STARTER,
    engines: Sequence[str] = ENGINES,
    chats: Sequence[int] = (1, 4, 8, 16),
    window_s: float = 9.0,
    drain_s: float = 5.0,
    think_s: float = 1.0,
    new_tokens: int = NEW_TOKENS,
    history_tokens: int = 1_000,
    second_turns: int = 3,
    strengths: Sequence[float] = STRENGTHS,
    seed: int = 0,
) -> dict[str, Any]:
    """Return machine, versions, rows and summary; each of the chats talks for `window_s` seconds.

    `starter` holds an adapter of `base`; llama.cpp answers only from the bundled one. With a `think_s` of 0, members
    never pause.
    """
    loads = tuple(Load(number, window_s, drain_s, think_s, seed) for number in chats)
    with tempfile.TemporaryDirectory() as folder:
        model = _sitting(settings_in(Path(folder), base, new_tokens), starter, loads, second_turns)
        adapters = [replace(model.starter, strength=strength) for strength in strengths]
        plans = _sittings(model, engines, adapters, history_tokens)
        rows = _with_answers([row for sitting in plans for row in _measure(sitting)])
    ratios, left_out = compare(_ratios(rows))
    packages = "torch", "transformers", "peft", "openvino-genai", "xllamacpp"
    return report(rows, ratios | _summary(rows), *packages, notes=left_out)


def _sitting(settings: Settings, folder: Path, loads: tuple[Load, ...], second_turns: int) -> Sitting:
    """Return the sitting that all others vary: ours, without an adapter."""
    notes.print("Getting the base model ready …")
    base = resolve_base_model(settings.model.base, settings.data.directory)
    starter, lora = adapter_in(folder), None
    if settings.model.base == BUNDLED and is_installed():
        lora = settings.data.directory / gguf_name(starter)
        write_gguf(starter, base, lora)
    return Sitting(OPENVINO, starter, (), loads, base, settings, script(), lora, second_turns=second_turns)


def adapter_in(folder: Path) -> AdapterRef:
    return AdapterRef(hashlib.sha256((folder / "adapter_model.safetensors").read_bytes()).hexdigest(), folder)


def settings_in(folder: Path, base: str, new_tokens: int, **more: object) -> Settings:
    """Return settings of a bench whose answers have at most so many tokens; `more` are others, as `section__key`."""
    chosen = {
        "data__directory": folder,
        "model__base": base,
        "generation__max_new_tokens": new_tokens,
        "generation__timeout_s": 1_000,
    }
    return load_settings(environment={f"REACTUNE_{key}".upper(): str(value) for key, value in (chosen | more).items()})


@asynccontextmanager
async def running_engine(settings: Settings, base: BaseModel) -> AsyncIterator[Engine]:
    """Serve the base with the bot's own engine."""
    engine = await start_engine(settings, base)
    try:
        yield engine
    finally:
        await engine.close(0)


def script() -> list[Conversation]:
    """Return what one of the two people said in each conversation of the dataset that is long enough."""
    said = [conversation[::2] for conversation in conversations()]
    return [turns for turns in said if len(turns) >= FEWEST_TURNS]


def _sittings(
    model: Sitting, engines: Sequence[str], adapters: Sequence[AdapterRef], history_tokens: int
) -> Iterator[Sitting]:
    many = replace(model.loads[-1], chats=MANY_ADAPTERS_CHATS)
    for engine in engines:
        if engine == LLAMA_CPP and model.lora is None:
            continue
        history = history_tokens if engine == OPENVINO else 0
        yield replace(model, engine=engine)
        yield replace(
            model,
            engine=engine,
            adapters=(model.starter,),
            history_tokens=history,
            has_neighbour=engine in OURS,
        )
        if engine in OURS and adapters:
            yield replace(model, engine=engine, adapters=tuple(adapters), loads=(many,))


def _measure(sitting: Sitting) -> Iterator[Row]:
    notes.print(f"Measuring: {sitting.engine}, adapters: {len(sitting.adapters)} …")
    return rows_apart(hold, sitting)


def _ratios(rows: Sequence[Row]) -> dict[str, Ratio]:
    told = {(row["what"], row["engine"], row.get("chats")): row for row in rows if row.get("adapters", 1) == 1}

    def speeds(over: tuple[str, str, int], under: tuple[str, str, int]) -> Ratio:
        return ratio_of((told.get(over, {}), "tokens_per_s"), (told.get(under, {}), "tokens_per_s"))

    chats = next(row["chats"] for row in rows if row["what"] == "chats")  # as many as have a neighbour
    turn = told.get(("second turn", OPENVINO, None), {})
    return {
        "tokens_per_s_ratio_1": speeds(("chats", OPENVINO, 1), ("chats", PLAIN, 1)),
        "tokens_per_s_ratio_8": speeds(("chats", OPENVINO, 8), ("chats", PLAIN, 8)),
        "llama_cpp_ratio_1": speeds(("chats", OPENVINO, 1), ("chats", LLAMA_CPP, 1)),
        "llama_cpp_ratio_8": speeds(("chats", OPENVINO, 8), ("chats", LLAMA_CPP, 8)),
        "second_turn_ttft_ratio": ratio_of((turn, "second_turn_first_token_s"), (turn, "first_turn_first_token_s")),
        "busy_neighbour_ratio": speeds((BUSY_NEIGHBOUR, OPENVINO, chats), ("chats", OPENVINO, chats)),
        "busy_neighbour_ratio_transformers": speeds(
            (BUSY_NEIGHBOUR, TRANSFORMERS, chats), ("chats", TRANSFORMERS, chats)
        ),
    }


def _summary(rows: Sequence[Row]) -> dict[str, float | None]:
    """Return what is no ratio."""
    told = {(row["engine"], row["chats"]): row for row in rows if row["what"] == "chats" and row["adapters"] == 1}
    swap = next((row for row in rows if row["what"] == "swap"), {})
    return {
        "ttft_p95_s_8": told.get((OPENVINO, 8), {}).get("first_token_p95_s"),
        "swap_s": swap.get("first_token_s"),
        "swap_failed": swap.get("failed"),
    }


def _with_answers(rows: Sequence[Row]) -> list[Row]:
    """Add answers per second, of the mean length of all engines' answers by as many adapters.

    A row's own mean would flatter the slow: of theirs, only the short ones end in time.
    """
    chats = [row for row in rows if row["what"] == "chats" and row["answers"]]
    tokens: Counter[int] = Counter()
    answers: Counter[int] = Counter()
    for row in chats:
        tokens[row["adapters"]] += row["answers"] * row["tokens_per_answer"]
        answers[row["adapters"]] += row["answers"]

    def answers_per_s(row: Row) -> Row:
        number = row.get("adapters", 0)
        if row["what"] != "chats" or row["tokens_per_s"] is None or not tokens[number]:
            return {}
        return {"answers_per_s": round(row["tokens_per_s"] * answers[number] / tokens[number], 2)}

    return [row | answers_per_s(row) for row in rows]
