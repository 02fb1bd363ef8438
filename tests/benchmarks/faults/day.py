"""Twenty-four hours of a busy server in minutes: the time of day goes faster, bot and trainer are the real ones.

The wall clock of both processes is libfaketime's and moves on in steps; their monotonic clock, by which they wait for
Discord and the database, goes on as it does. Votes, cron, heartbeats and rows see a whole day.
"""

from __future__ import annotations

import asyncio
import math
import random
import tempfile
from contextlib import closing, suppress
from pathlib import Path

from sqlalchemy import func, select, text
from sqlalchemy.exc import OperationalError

from storage.base_model import resolve_base_model
from storage.database import open_database
from storage.personalities import ensure_personality
from storage.schema import ArenaRow, RoundRow, RoundStatus
from storage.versions import list_versions, promote, read_alias
from tests.benchmarks.faults.clock import Clock, find_library
from tests.benchmarks.faults.crowd import Crowd
from tests.benchmarks.faults.kills import Scene, stage
from tests.benchmarks.faults.oracle import open_rounds
from tests.benchmarks.faults.processes import Child
from tests.benchmarks.faults.report import Row, grew, notes
from tests.benchmarks.faults.trainer_kills import environment_of
from tests.seeding import tiny_settings
from tests.tiny_model import build_tiny_base

STEP_MINUTES = 5
STEPS = 24 * 60 // STEP_MINUTES
STEP_S = 0.8
BUSIEST_PER_S = 30.0
QUIETEST_PER_S = 3.0
PEAK_HOUR = 20
RESTARTS_AT = (8, 16)
"""Hours."""
STEPS_IN_HOUR = 60 // STEP_MINUTES


def live_a_day(steps: int, seed: int) -> Row:
    row = Row(f"{steps * STEP_MINUTES / 60:g} simulated hours of a busy server")
    library = find_library()
    if library is None:
        row.skipped = "libfaketime is not installed: apt install libfaketime"
        return row
    with tempfile.TemporaryDirectory(prefix="reactune-day-") as name:
        asyncio.run(_live(steps, seed, row, Path(name), library))
    return row


async def _live(steps: int, seed: int, row: Row, folder: Path, library: Path) -> None:
    base = resolve_base_model(str(build_tiny_base(folder / "tiny")), folder / "data")
    url = f"sqlite:///{folder / 'data' / 'reactune.db'}"
    settings = tiny_settings(folder / "data", base.path, schedule="0 4 * * *")
    clock = Clock(folder / "clock", library)
    bot = {"REACTUNE_DATA__DIRECTORY": str(folder / "data"), "FAULTS_BASE": base.revision}
    trainer = Child("-m trainer", folder, {**environment_of(settings), **clock.environment}, "trainer")
    try:
        trainer.start()
        async with stage(seed, "", environment=bot, url=url, preloaded=clock.environment) as scene:
            await scene.pause()
            await _hours(steps, row, scene, clock)
            await scene.settle(row)
            _count_rounds(scene, row)
            await scene.finish(row)
        if not trainer.is_alive:
            row.lost.append(f"the trainer ended: see {trainer.keep_log()}")
    finally:
        trainer.kill_all()
    with closing(open_database(settings)) as database, database.snapshot() as session:
        found = session.scalar(text("PRAGMA integrity_check"))
        if found != "ok" or session.execute(text("PRAGMA foreign_key_check")).all():
            row.lost.append(f"the database is not consistent: {found}")
    row.seen.pop("recoveries", None)


async def _hours(steps: int, row: Row, scene: Scene, clock: Clock) -> None:
    footprints = []
    for step in range(steps):
        hour = step * STEP_MINUTES / 60
        clock.be_wrong_by(f"+{step * STEP_MINUTES}m")
        await _act(scene.crowd, hour, scene.rng)
        row.times += 1
        if step % STEPS_IN_HOUR == 0:
            footprints.append(await asyncio.to_thread(scene.bot.footprint))
            with suppress(OperationalError):  # both write much: an admin would try again too
                await asyncio.to_thread(_release, scene)
            notes.print(f"hour {hour:g}: {footprints[-1]}")
            if hour in RESTARTS_AT:
                await asyncio.to_thread(scene.bot.stop)
                await scene.bot.start_and_wait()
    row.lost += grew("the bot", footprints)
    row.seen["footprints"] = footprints[::8] + footprints[-1:]


async def _act(crowd: Crowd, hour: float, rng: random.Random) -> None:
    """Let members act for one step, by a Poisson process that is busiest in the evening."""
    share = (1 + math.cos((hour - PEAK_HOUR) / 24 * 2 * math.pi)) / 2
    rate = QUIETEST_PER_S + share * (BUSIEST_PER_S - QUIETEST_PER_S)
    left_s = STEP_S
    while (pause_s := rng.expovariate(rate)) < left_s:
        await asyncio.sleep(pause_s)
        left_s -= pause_s
        crowd.act()
        if rng.random() < 0.02:
            crowd.tidy_up()
    await asyncio.sleep(max(0.0, left_s))


def _release(scene: Scene) -> None:
    """Let the newest version answer, as an admin would on the command line."""
    with scene.database.transaction() as session:
        personality_id = ensure_personality(session)
        versions, champion = list_versions(session, personality_id), read_alias(session, personality_id)
        if versions and champion.version != versions[0]:
            promote(
                session,
                personality_id,
                versions[0],
                expected_generation=champion.generation,
                by="faults",
                reason="the nightly round",
                override=True,
            )


def _count_rounds(scene: Scene, row: Row) -> None:
    with scene.database.snapshot() as session:
        rounds = session.execute(select(RoundRow.status, func.count()).group_by(RoundRow.status)).all()
        row.seen["rounds"] = {str(status): count for status, count in rounds}
        row.seen["arenas"] = session.scalar(select(func.count()).select_from(ArenaRow))
        row.lost += [f"round {round_id} hangs" for round_id in open_rounds(session)]
        if not row.seen["rounds"].get(str(RoundStatus.PUBLISHED)) and row.times == STEPS:
            row.lost.append("no nightly round was published")
