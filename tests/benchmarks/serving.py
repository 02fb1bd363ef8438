"""`reactune bench serving`: how soon and how fast are answers, beside plain `generate()` and llama.cpp?

Every engine answers the same people in a process of its own: N chats at once, each of which goes on once it is
answered. A ratio of tokens per second is ours over the other's; that of the second turn is the time to the first token
with the conversation's beginning in the cache over the time without.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console

from storage.adapters import AdapterRef
from storage.base_model import BUNDLED, resolve_base_model
from storage.settings import Settings, load_settings
from tests.benchmarks import llama_cpp
from tests.benchmarks.report import machine, versions
from tests.benchmarks.serving_load import Conversation, Load
from tests.benchmarks.serving_sitting import LLAMA_CPP, OPENVINO, PLAIN, TRANSFORMERS, Row, Sitting, hold

STARTER = Path(__file__).resolve().parents[2] / "personalities" / "starters" / "default"
STRENGTHS = (1.0, 0.75, 0.5, 0.25)
ENGINES = (OPENVINO, TRANSFORMERS, PLAIN, LLAMA_CPP)
OURS = (OPENVINO, TRANSFORMERS)
MANY_ADAPTERS_CHATS = 8
NEW_TOKENS = 48
FEWEST_TURNS = 4
MEMORY_POLL_S = 0.5
LEAVE_S = 20.0

notes = Console(stderr=True)


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

    `starter` holds an adapter of `base`; llama.cpp answers only from the bundled one.
    """
    # Engines whose threads spin at barriers collapse beside other work: numbers of a busy machine compare nothing.
    described = machine() | {"load_before": round(psutil.getloadavg()[0], 2)}
    loads = tuple(Load(number, window_s, drain_s, think_s, seed) for number in chats)
    with tempfile.TemporaryDirectory() as folder:
        model = _sitting(_settings(Path(folder), base, new_tokens), starter, loads, second_turns)
        adapters = [replace(model.starter, strength=strength) for strength in strengths]
        plans = _sittings(model, engines, adapters, history_tokens)
        rows = [row for sitting in plans for row in _measure(sitting)]
    return {
        "machine": described,
        "versions": versions("torch", "transformers", "peft", "openvino-genai", "xllamacpp"),
        "rows": rows,
        "summary": _summary(rows),
    }


def _sitting(settings: Settings, folder: Path, loads: tuple[Load, ...], second_turns: int) -> Sitting:
    """Return the sitting that all others vary: ours, without an adapter."""
    notes.print("Getting the base model ready …")
    base = resolve_base_model(settings.model.base, settings.data.directory)
    digest = hashlib.sha256((folder / "adapter_model.safetensors").read_bytes()).hexdigest()
    starter, lora = AdapterRef(digest, folder), None
    if settings.model.base == BUNDLED and llama_cpp.is_installed():
        lora = settings.data.directory / "starter.gguf"
        llama_cpp.write_lora(starter, base, lora)
    return Sitting(OPENVINO, starter, (), loads, base, settings, _script(), lora, second_turns=second_turns)


def _settings(folder: Path, base: str, new_tokens: int) -> Settings:
    return load_settings(
        environment={
            "REACTUNE_DATA__DIRECTORY": str(folder),
            "REACTUNE_MODEL__BASE": base,
            "REACTUNE_GENERATION__MAX_NEW_TOKENS": str(new_tokens),
            "REACTUNE_GENERATION__TIMEOUT_S": "1000",
        }
    )


def _script() -> list[Conversation]:
    """Return what one of the two people said in each conversation of the dataset that is long enough."""
    from tests.benchmarks.community import conversations

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
        yield replace(model, engine=engine, voices=(model.starter,), history_tokens=history)
        if engine in OURS and adapters:
            yield replace(model, engine=engine, voices=tuple(adapters), loads=(many,))


def _measure(sitting: Sitting) -> list[Row]:
    """Hold a sitting in a process of its own; each row gets its most memory since the row before."""
    notes.print(f"Measuring: {sitting.engine}, adapters: {len(sitting.voices)} …")
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=hold, args=(sitting, theirs), name=f"sitting of {sitting.engine}")
    process.start()
    theirs.close()  # or the end of the process would not end the reading
    assert process.pid is not None
    try:
        rows = list(_received(ours, process.pid))
    finally:
        process.join(LEAVE_S)
        process.kill()
        process.join()
    if len(rows) < len(sitting.loads):
        raise RuntimeError(f"the sitting of {sitting.engine} ended early, with code {process.exitcode}")
    return rows


def _received(rows: Connection, pid: int) -> Iterator[Row]:
    peak_mib = 0.0
    while True:
        peak_mib = max(peak_mib, _memory_mib(pid))
        if not rows.poll(MEMORY_POLL_S):
            continue
        try:
            row: Row = rows.recv()
        except EOFError:
            return
        yield row | {"peak_memory_mib": round(peak_mib)}
        peak_mib = 0.0


def _memory_mib(pid: int) -> float:
    """Return what a process and all its descendants hold in memory."""
    total = 0
    try:
        process = psutil.Process(pid)
        for one in (process, *process.children(recursive=True)):
            total += one.memory_info().rss
    except psutil.NoSuchProcess:
        pass
    return total / 2**20


def _summary(rows: Sequence[Row]) -> dict[str, float | None]:
    told = {(row["engine"], row["chats"]): row for row in rows if row["what"] == "chats" and row["adapters"] == 1}
    by_what: Mapping[str, Row] = {row["what"]: row for row in rows}
    turn, swap = by_what.get("second turn", {}), by_what.get("swap", {})

    def speed(engine: str, chats: int) -> float | None:
        return told.get((engine, chats), {}).get("tokens_per_s")

    return {
        "tokens_per_s_ratio_1": _ratio(speed(OPENVINO, 1), speed(PLAIN, 1)),
        "tokens_per_s_ratio_8": _ratio(speed(OPENVINO, 8), speed(PLAIN, 8)),
        "llama_cpp_ratio_1": _ratio(speed(OPENVINO, 1), speed(LLAMA_CPP, 1)),
        "llama_cpp_ratio_8": _ratio(speed(OPENVINO, 8), speed(LLAMA_CPP, 8)),
        "ttft_p95_s_8": told.get((OPENVINO, 8), {}).get("first_token_p95_s"),
        "second_turn_ttft_ratio": _ratio(turn.get("second_turn_first_token_s"), turn.get("first_turn_first_token_s")),
        "swap_s": swap.get("first_token_s"),
        "swap_failed": swap.get("failed"),
    }


def _ratio(ours: float | None, theirs: float | None) -> float | None:
    return round(ours / theirs, 3) if ours is not None and theirs else None
