"""`reactune bench startup`: how long until the first answer, by how many versions, with graphs on disk and without?

The base model is converted and compared with transformers before. Files that were just written are in the machine's
memory, so a first start after a reboot also reads them from disk.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bot.engine import Engine
from storage.adapters.folder_store import AdapterRef
from storage.models.base_model import BUNDLED, BaseModel, resolve_base_model
from storage.models.openvino.graph_cache import graph_folder
from storage.settings.sections import Settings
from tests.benchmarks.apart import TellRow, memory_mib, rows_apart
from tests.benchmarks.first_answer import ANSWERED, CONNECTED, FIRST_TEXT
from tests.benchmarks.report import Row, notes, report
from tests.benchmarks.serving import NEW_TOKENS, STARTER, STRENGTHS, adapter_in, running_engine, settings_in
from tests.benchmarks.serving_load import ask, request_of

ROOT = Path(__file__).resolve().parents[2]
MADE, KEPT = "made", "on disk"


@dataclass(frozen=True)
class Start:
    settings: Settings
    base: BaseModel
    adapters: tuple[AdapterRef, ...]
    graphs: str
    """MADE or KEPT."""


def run(
    *,
    base: str = BUNDLED,
    starter: Path = STARTER,
    numbers: Sequence[int] = (1, 2, 4),
    bot_starts: int = 3,
) -> dict[str, Any]:
    """Return machine, versions, rows and summary; `numbers` are how many versions are asked at once."""
    with tempfile.TemporaryDirectory() as folder:
        settings = settings_in(Path(folder), base, NEW_TOKENS)
        notes.print("Getting the base model ready, and comparing its graph with transformers …")
        model = resolve_base_model(settings.model.base, settings.data.directory)
        adapters = tuple(replace(adapter_in(starter), strength=strength) for strength in STRENGTHS)
        rows = [*rows_apart(measure, Start(settings, model, (), MADE))]
        for number in numbers:
            rows += _start_twice(Start(settings, model, adapters[:number], MADE))
        rows += _bot_rows(settings, base, bot_starts)
    return report(rows, _summary(rows), "openvino-genai", "torch", "transformers", "discord.py")


# A new engine


def _start_twice(start: Start) -> Iterator[Row]:
    """Start without the graphs of the versions, then with them."""
    notes.print(f"Starting with {len(start.adapters)} versions …")
    for graph in graph_folder(start.base, start.settings.data.directory).glob("*/"):
        shutil.rmtree(graph)
    yield from rows_apart(measure, start)
    yield from rows_apart(measure, replace(start, graphs=KEPT))


def measure(start: Start, tell: TellRow) -> None:
    asyncio.run(_measure(start, tell))


async def _measure(start: Start, tell: TellRow) -> None:
    began = time.perf_counter()
    async with running_engine(start.settings, start.base) as engine:
        ready_s = time.perf_counter() - began
        first_token_s = [at - began for at in await _first_tokens(engine, start)]
        tell(
            {
                "what": "engine",
                "versions": len(start.adapters),
                "graphs": start.graphs,
                "ready_s": round(ready_s, 2),
                "first_token_s": [round(seconds, 2) for seconds in first_token_s],
                "memory_mib": round(memory_mib(os.getpid())),
            }
        )


async def _first_tokens(engine: Engine, start: Start) -> list[float]:
    """Ask all versions at once; return when each had said its first token, a reading of time.perf_counter()."""
    prompt = await engine.render([{"role": "user", "content": "Hi."}])
    requests = [request_of(prompt.text, adapter, start.settings, seed=1) for adapter in start.adapters]
    told = [one for one, _ in await asyncio.gather(*(ask(engine, request, set()) for request in requests))]
    if any(one.failed for one in told):
        raise RuntimeError("a version did not answer")
    return sorted(one.asked_at + one.first_token_s for one in told)


# The whole bot


def _bot_rows(settings: Settings, base: str, starts: int) -> Iterator[Row]:
    """Start the bot some times, after once that makes its database and graph."""
    notes.print("Starting the bot …")
    _start_bot(settings, base)
    for _ in range(starts):
        yield _start_bot(settings, base)


def _start_bot(settings: Settings, base: str) -> Row:
    """Return the seconds since the process began; being connected to a simulator takes no time."""
    environment = os.environ | {
        "REACTUNE_DATA__DIRECTORY": str(settings.data.directory),
        "REACTUNE_MODEL__BASE": base,
        "REACTUNE_GENERATION__MAX_NEW_TOKENS": str(NEW_TOKENS),
    }
    command = [sys.executable, "-m", "tests.benchmarks.first_answer"]
    began = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment, cwd=ROOT) as process:
        assert process.stdout is not None
        at = {line.strip(): round(time.perf_counter() - began, 2) for line in process.stdout}
    if process.returncode:
        raise RuntimeError(f"the bot ended with code {process.returncode}")
    return {
        "what": "bot",
        "connected_s": at[CONNECTED],
        "first_text_s": at[FIRST_TEXT],
        "answered_s": at[ANSWERED],
    }


def _summary(rows: Sequence[Row]) -> dict[str, float]:
    """Return medians of the bot's starts, and the last version's first token with graphs on disk."""
    kept = {row["versions"]: row for row in rows if row["what"] == "engine" and row["graphs"] == KEPT}
    starts = [row for row in rows if row["what"] == "bot"]
    return {
        **{f"first_token_s_{number}": row["first_token_s"][-1] for number, row in kept.items()},
        **{f"memory_mib_{number}": row["memory_mib"] for number, row in kept.items()},
        "bot_first_text_s": statistics.median(row["first_text_s"] for row in starts),
        "bot_answered_s": statistics.median(row["answered_s"] for row in starts),
    }
