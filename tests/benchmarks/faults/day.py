"""Twenty-four hours of a busy server in minutes: the time of day goes faster, bot and trainer are the real ones.

The wall clock of both processes is libfaketime's and moves on in steps; their monotonic clock, by which they wait for
Discord and the database, is unchanged. Votes, cron, heartbeats and rows see a whole day.
"""

from __future__ import annotations

import asyncio
import math
import random
import tempfile
import time
from contextlib import closing, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy import func, select, text
from sqlalchemy.exc import OperationalError

from bot.chat.answer_message import NOTICE_S
from storage.database.database import open_database
from storage.database.enums import RoundStatus
from storage.database.tables import ArenaRow, CorrectionRow, ReplyRow, RoundRow, VoteEventRow
from storage.models.base_model import resolve_base_model
from storage.personalities.personalities import ensure_personality
from storage.releases.versions import list_versions
from storage.training.rounds import request_round
from storage.votes.arenas import open_arenas
from tests.benchmarks.faults.clock import Clock, find_library
from tests.benchmarks.faults.crowd import Crowd
from tests.benchmarks.faults.oracle import open_rounds
from tests.benchmarks.faults.processes import Child
from tests.benchmarks.faults.report import Row, Seen, grew, medians
from tests.benchmarks.faults.scene import Scene, stage
from tests.benchmarks.faults.trainer_kills import environment_of, promote_newest
from tests.benchmarks.report import notes
from tests.seeding import tiny_settings
from tests.tiny_model import build_tiny_base

STEP_MINUTES = 5
STEPS_IN_HOUR = 60 // STEP_MINUTES
STEPS = 24 * STEPS_IN_HOUR
STEP_S = 0.8
BUSIEST_PER_S = 30.0
QUIETEST_PER_S = 3.0
PEAK_HOUR = 20
RESTART_AT_H, KILL_AT_H = 1, 2
"""Early, so that one process lives through the rest of the day."""
WARM_AT_H = 4
"""From then on footprints are compared."""
ROUNDS_AT_H = (9, 15, 20)
"""Beside the nightly one."""
PROMOTED_EVERY_H = 3
MEASURED_EVERY = 3
"""Steps."""
ARENAS = "0 */4 * * *"
NIGHTLY = "0 4 * * *"
SUGGESTING_SHARE = 0.01
SETTLING_S = 3.0
FORM_S = 0.5
TASK_SLACK = 4
TIDYING_SHARE = 0.02
PICKING_SHARE = 0.1


def live_a_day(steps: int, seed: int) -> Row:
    row = Row(f"{steps / STEPS_IN_HOUR:g} simulated hours of a busy server")
    library = find_library()
    if library is None:
        row.skipped = "libfaketime is not installed: apt install libfaketime"
        return row
    began_s = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="reactune-day-") as name:
        asyncio.run(_live(steps, seed, row, Path(name), library))
    row.seen["minutes that it took"] = round((time.monotonic() - began_s) / 60, 1)
    return row


async def _live(steps: int, seed: int, row: Row, folder: Path, library: Path) -> None:
    base = resolve_base_model(str(build_tiny_base(folder / "tiny")), folder / "data")
    url = f"sqlite:///{folder / 'data' / 'reactune.db'}"
    settings = tiny_settings(folder / "data", base.path, schedule=NIGHTLY)
    clock = Clock(folder / "clock", library)
    bot = {
        "REACTUNE_DATA__DIRECTORY": str(folder / "data"),
        "REACTUNE_ARENA__SCHEDULE": ARENAS,
        "FAULTS_BASE": base.revision,
        **clock.environment,
    }
    trainer = Child("-m reactune trainer", folder, {**environment_of(settings), **clock.environment}, "trainer")
    try:
        trainer.start()
        async with stage(seed, environment=bot, url=url) as scene:
            await scene.pause()
            await _Day(scene, trainer, clock, row).live(steps)
            await scene.settle(row)
            _count(scene, row)
            await scene.finish(row)
        if not trainer.is_alive:
            row.lost.append(f"the trainer ended: see {trainer.keep_log()}")
    finally:
        trainer.kill_all()
    with closing(open_database(settings)) as database, database.snapshot() as session:
        found = session.scalar(text("PRAGMA integrity_check"))
        if found != "ok" or session.execute(text("PRAGMA foreign_key_check")).all():
            row.lost.append(f"the database is not consistent: {found}")


class _Day:
    def __init__(self, scene: Scene, trainer: Child, clock: Clock, row: Row) -> None:
        self._scene = scene
        self._trainer = trainer
        self._clock = clock
        self._row = row
        self._until_midnight = timedelta(days=1) - _time_of_day()
        self._suggesting: set[asyncio.Task[None]] = set()

    async def live(self, steps: int) -> None:
        bot: list[Seen] = []
        trainer: list[Seen] = []
        at_rest: Seen = {}
        for step in range(steps):
            hour = step / STEPS_IN_HOUR
            self._set_clock(step)
            await self._act(hour)
            await self._let_forms_end()
            while self._has_open_round():  # its lease would run out at once
                await self._act(hour)
            self._row.times += 1
            if hour == WARM_AT_H:
                at_rest["first"] = await self._tasks_at_rest()
            if hour >= WARM_AT_H and step % MEASURED_EVERY == 0:
                bot.append(await asyncio.to_thread(self._scene.bot.footprint))
                trainer.append(self._trainer.footprint())
            if step % STEPS_IN_HOUR == 0:
                await self._begin_hour(round(hour))
        at_rest["last"] = await self._tasks_at_rest()
        if at_rest["last"] > at_rest.get("first", at_rest["last"]) + TASK_SLACK:
            self._row.lost.append(f"tasks at rest grew from {at_rest['first']:g} to {at_rest['last']:g}")
        self._row.seen["tasks at rest"] = at_rest
        without_tasks = [{name: value for name, value in one.items() if name != "tasks"} for one in bot]
        self._row.lost += grew("the bot", without_tasks, since=0)
        self._row.lost += grew("the trainer", trainer, since=0)
        for who, footprints in (("bot", bot), ("trainer", trainer)):
            self._row.seen[f"{who}: first and last third"] = [medians(footprints, third) for third in (0, 2)]

    def _set_clock(self, step: int) -> None:
        """Move on the time of bot, trainer and Discord."""
        ahead = self._until_midnight + timedelta(minutes=step * STEP_MINUTES)
        self._clock.be_wrong_by(f"+{round(ahead.total_seconds())}")
        self._scene.crowd.discord.clock.past = -ahead

    async def _let_forms_end(self) -> None:
        """Discord takes no answer to what was pressed minutes ago."""
        if self._suggesting:
            await asyncio.wait(self._suggesting)
            await asyncio.sleep(FORM_S)

    def _has_open_round(self) -> bool:
        with self._scene.database.snapshot() as session:
            return bool(open_rounds(session))

    async def _tasks_at_rest(self) -> int:
        await asyncio.sleep(NOTICE_S + SETTLING_S)  # each notice has a task that deletes it
        return int((await asyncio.to_thread(self._scene.bot.footprint))["tasks"])

    async def _begin_hour(self, hour: int) -> None:
        with suppress(OperationalError):  # bot and trainer write much: an admin would try again too
            await asyncio.to_thread(self._release, hour)
        if hour == RESTART_AT_H:
            await asyncio.to_thread(self._scene.bot.stop)
            await self._scene.bot.start_and_wait()
        elif hour == KILL_AT_H:
            self._scene.bot.kill()
            await self._scene.bot.start_and_wait()
        notes.print(f"hour {hour}: {dict(self._scene.crowd.did)}")

    async def _act(self, hour: float) -> None:
        """Let members act for one step, by a Poisson process that is busiest in the evening."""
        crowd, rng = self._scene.crowd, self._scene.rng
        share = (1 + math.cos((hour - PEAK_HOUR) / 24 * 2 * math.pi)) / 2
        rate = QUIETEST_PER_S + share * (BUSIEST_PER_S - QUIETEST_PER_S)
        arenas = await asyncio.to_thread(self._arenas)
        left_s = STEP_S
        while (pause_s := rng.expovariate(rate)) < left_s:
            await asyncio.sleep(pause_s)
            left_s -= pause_s
            crowd.act()
            self._act_rarely(crowd, rng, arenas)
        await asyncio.sleep(max(0.0, left_s))

    def _act_rarely(self, crowd: Crowd, rng: random.Random, arenas: list[int]) -> None:
        if rng.random() < TIDYING_SHARE:
            crowd.tidy_up()
        if rng.random() < SUGGESTING_SHARE:
            task = asyncio.create_task(crowd.suggest())
            self._suggesting.add(task)
            task.add_done_callback(self._suggesting.discard)
        for message_id in arenas:
            if rng.random() < PICKING_SHARE:
                crowd.pick(message_id)

    def _arenas(self) -> list[int]:
        with self._scene.database.snapshot() as session:
            return [arena.message_id for arena in open_arenas(session) if arena.message_id]

    def _release(self, hour: int) -> None:
        """Do what an admin does on the command line: rounds and releases."""
        with self._scene.database.transaction() as session:
            personality_id = ensure_personality(session)
            if hour in ROUNDS_AT_H:
                request_round(session, personality_id, "faults")
            if hour % PROMOTED_EVERY_H == 0:
                promote_newest(session)


def _time_of_day() -> timedelta:
    now = datetime.now(UTC)
    return now - now.replace(hour=0, minute=0, second=0, microsecond=0)


def _count(scene: Scene, row: Row) -> None:
    with scene.database.snapshot() as session:
        rounds = session.execute(select(RoundRow.status, func.count()).group_by(RoundRow.status)).all()
        row.seen["rounds"] = {str(status): count for status, count in rounds}
        nights = session.scalars(select(RoundRow.requested_by)).all()
        row.seen["rounds asked for by"] = sorted(set(nights))
        row.seen["versions"] = len(list_versions(session, ensure_personality(session)))
        arenas = session.execute(select(ArenaRow.status, func.count()).group_by(ArenaRow.status)).all()
        row.seen["arenas"] = {str(status): count for status, count in arenas}
        for name, table in (("replies", ReplyRow), ("vote events", VoteEventRow), ("corrections", CorrectionRow)):
            row.seen[name] = session.scalar(select(func.count()).select_from(table))
        first, last = session.execute(select(func.min(ReplyRow.created_at), func.max(ReplyRow.created_at))).one()
        row.seen["hours between the first and the last reply"] = round((last - first).total_seconds() / 3_600, 1)
        row.lost += [f"round {round_id} hangs" for round_id in open_rounds(session)]
    if row.times == STEPS and not row.seen["rounds"].get(str(RoundStatus.PUBLISHED)):
        row.lost.append("no nightly round was published")
