"""`reactune bench loop`: how late the event loop runs while the model generates, and while a round trains beside it.

A slowdown is the median time of an answer over that of one while nothing else runs.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import statistics
import tempfile
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

from bot.engine import Engine, GenerationRequest
from storage.database.database import open_database
from storage.models.base_model import resolve_base_model
from storage.personalities.personalities import ensure_personality
from storage.settings.sections import Settings
from storage.training.rounds import latest_round, request_round
from tests.benchmarks.disturbance import Clock, Ratio, busy_neighbour, compare, ratio_of
from tests.benchmarks.report import Row, notes, report
from tests.benchmarks.serving import running_engine, settings_in
from tests.benchmarks.serving_load import ask, quantile, request_of, ticking
from tests.seeding import add_siblings
from trainer.progress import Phase
from trainer.rounds.worker import run_trainer, stopped_by_signals

IDLE_S = 5.0
PAIRS = 200
GENERATING = "generating"
BUSY_NEIGHBOUR = "generating with a busy neighbour"
ROUND = "generating while a round trains"
QUESTION = "Tell me a long story about the sea, a lighthouse and a cat."


def run(*, base: str = "bundled", conversations: int = 8, answers: int = 3, new_tokens: int = 64) -> dict[str, Any]:
    """Return machine, versions, rows and summary; `answers` are given one after another by each conversation."""
    with tempfile.TemporaryDirectory() as folder:
        # Training begins at once, without fresh answers, and would take longer than the measurement, which ends it.
        quick = {"training__schedule": "", "training__epochs": 50, "pairs__ranked_prompts": 0}
        settings = settings_in(Path(folder), base, new_tokens, **quick)
        notes.print("Getting the base model ready …")
        resolve_base_model(settings.model.base, settings.data.directory)
        rows = asyncio.run(_measure(settings, conversations, answers))
    slowdowns, left_out = compare(_slowdowns(rows))
    return report(rows, _delays(rows) | slowdowns, "torch", "transformers", "trl", "peft", notes=left_out)


async def _measure(settings: Settings, conversations: int, answers: int) -> list[Row]:
    base = resolve_base_model(settings.model.base, settings.data.directory)
    async with running_engine(settings, base) as engine:
        prompt = await engine.render([{"role": "user", "content": QUESTION}])
        request = request_of(prompt.text, None, settings, seed=7)
        await ask(engine, request, set())  # warm up

        async def chat() -> list[float]:
            return await _chat(engine, request, conversations, answers)

        rows = [await _row("nothing", lambda: asyncio.sleep(IDLE_S)), await _row(GENERATING, chat)]
        with busy_neighbour():
            rows.append(await _row(BUSY_NEIGHBOUR, chat))
        async with _training(settings):
            rows.append(await _row(ROUND, chat))
            rows.append(await _row("a round trains", lambda: asyncio.sleep(IDLE_S)))
    return rows


async def _row(what: str, work: Callable[[], Awaitable[list[float] | None]]) -> Row:
    notes.print(f"Measuring: {what} …")
    before = Clock.read(os.getpid())
    async with ticking() as late_ms:
        answer_s = await work()
    row = {
        "what": what,
        "max_delay_ms": max(late_ms),
        "p99_delay_ms": quantile(late_ms, 0.99),
        "probes": len(late_ms),
        "others_cores": Clock.read(os.getpid()).others_since(before),
    }
    return row | ({"median_answer_s": statistics.median(answer_s)} if answer_s else {})


async def _chat(engine: Engine, request: GenerationRequest, conversations: int, answers: int) -> list[float]:
    """Return the seconds of each answer; those of a conversation are given one after another."""

    async def converse() -> list[float]:
        told = [(await ask(engine, request, set()))[0] for _ in range(answers)]
        return [one.ended_at - one.asked_at for one in told]

    return [seconds for told in await asyncio.gather(*(converse() for _ in range(conversations))) for seconds in told]


@asynccontextmanager
async def _training(settings: Settings) -> AsyncIterator[None]:
    """Train a real round in a separate process next to the bot, and stop it afterwards."""
    base = resolve_base_model(settings.model.base, settings.data.directory)
    with closing(open_database(settings)) as database, database.transaction() as session:
        personality_id = ensure_personality(session)
        add_siblings(session, PAIRS, base_revision=base.revision)
        request_round(session, personality_id, "bench")
    context = multiprocessing.get_context("spawn")
    trainer = context.Process(target=_run_trainer, args=(settings,), name="trainer")
    await asyncio.to_thread(trainer.start)
    try:
        await asyncio.to_thread(_wait_until_it_trains, settings)
        yield
    finally:
        trainer.terminate()
        await asyncio.to_thread(trainer.join)


def _run_trainer(settings: Settings) -> None:
    with stopped_by_signals() as stop:
        run_trainer(settings, stop)


def _wait_until_it_trains(settings: Settings) -> None:
    with closing(open_database(settings)) as database:
        pause = threading.Event()
        while True:
            round_ = database.fetch(lambda session: latest_round(session, ensure_personality(session)))
            assert round_ is not None
            if not round_.is_open:
                raise RuntimeError(f"the round ended before it could be watched: {round_.reason}")
            if round_.progress.get("phase") == Phase.TRAINING:
                return
            pause.wait(0.5)


def _delays(rows: list[Row]) -> dict[str, float]:
    largest = {row["what"]: row["max_delay_ms"] for row in rows}
    return {
        "max_delay_ms_idle": largest["nothing"],
        "max_delay_ms_generating": largest[GENERATING],
        "max_delay_ms_training": max(largest[ROUND], largest["a round trains"]),
    }


def _slowdowns(rows: list[Row]) -> dict[str, Ratio]:
    by_name = {row["what"]: row for row in rows}

    def slowdown(beside: str) -> Ratio:
        return ratio_of((by_name[beside], "median_answer_s"), (by_name[GENERATING], "median_answer_s"))

    return {"answer_slowdown_training": slowdown(ROUND), "answer_slowdown_busy_neighbour": slowdown(BUSY_NEIGHBOUR)}
