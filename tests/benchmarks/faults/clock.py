"""A wall clock that jumps by hours and days, back and forth, under a bot that serves and a trainer that waits."""

from __future__ import annotations

import asyncio
import tempfile
import time
from contextlib import closing
from pathlib import Path

from sqlalchemy import func, select

from storage.database.database import open_database
from storage.database.tables import RoundRow
from storage.models.base_model import resolve_base_model
from tests.benchmarks.faults.processes import Child
from tests.benchmarks.faults.report import Row
from tests.benchmarks.faults.scene import Scene, strike_again
from tests.benchmarks.faults.trainer_kills import environment_of
from tests.seeding import tiny_settings
from tests.tiny_model import build_tiny_base

LIBRARIES = ("/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib", "/usr/local/lib")
JUMPS = ("+1h", "-1h", "+1d", "-1d", "+8d", "-8d", "+40d", "-40d", "+3m", "-30s")
"""From the right time, one after another: the clock is wrong by this much then."""
LIVED_S = 2.5
COOLDOWN_S = 2.0
DAILY = "0 4 * * *"
ASKED_S = 25.0


def jump(times: int, seed: int) -> list[Row]:
    bot, trainer = Row("clock jumps under the bot"), Row("clock jumps under the trainer's schedule")
    library = find_library()
    if library is None:
        bot.skipped = trainer.skipped = "libfaketime is not installed: apt install libfaketime"
        return [bot, trainer]
    asyncio.run(_jump_bot(times, seed, bot, library))
    _jump_trainer(trainer, library)
    return [bot, trainer]


async def _jump_bot(times: int, seed: int, row: Row, library: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="reactune-clock-") as name:
        clock = Clock(Path(name) / "clock", library)

        async def jump_once(scene: Scene) -> float:
            jumped = JUMPS[row.times % len(JUMPS)]
            clock.be_wrong_by(jumped)
            row.times += 1
            await asyncio.sleep(LIVED_S)
            await _require_answer(scene, row, jumped)
            return 0.0

        environment = clock.environment | {"REACTUNE_CHAT__COOLDOWN_S": str(COOLDOWN_S)}
        await strike_again(row, times, seed, jump_once, in_a_life=times, between_s=(0, 0), environment=environment)


async def _require_answer(scene: Scene, row: Row, jumped: str) -> None:
    """A cooldown must neither last for days nor be gone: after its seconds a member is answered."""
    await scene.pause()
    await asyncio.sleep(COOLDOWN_S)
    question = scene.crowd.ask()
    give_up_s = time.monotonic() + 20.0
    while time.monotonic() < give_up_s:
        if any(int(answer.reference["message_id"]) == question.id for answer in scene.crowd.all_answers()):
            return
        await asyncio.sleep(0.1)
    row.lost.append(f"no answer after the clock had jumped by {jumped}: see {scene.bot.keep_log()}")


def _jump_trainer(row: Row, library: Path) -> None:
    """Each night that the clock passes asks for rounds once; a night that comes again asks again, and nothing hangs."""
    with tempfile.TemporaryDirectory(prefix="reactune-faults-") as name:
        folder = Path(name)
        base = resolve_base_model(str(build_tiny_base(folder / "tiny")), folder / "data")
        settings = tiny_settings(folder / "data", base.path, schedule=DAILY)
        clock = Clock(folder / "clock", library)
        trainer = Child("-m reactune trainer", folder, {**environment_of(settings), **clock.environment}, "trainer")
        with closing(open_database(settings)) as database:
            trainer.start()
            try:
                _wait_for_log(trainer, "The trainer is ready")
                for shift in ("+1d", "+1d", "+3d", "-2d", "+5d"):
                    clock.be_wrong_by(shift)
                    row.times += 1
                    time.sleep(ASKED_S)
                    with database.snapshot() as session:
                        rounds = session.scalar(select(func.count()).select_from(RoundRow))
                    row.seen.setdefault("rounds after each jump", []).append([shift, rounds])
                    if not trainer.is_alive:
                        row.lost.append(f"the trainer ended: see {trainer.keep_log()}")
                        return
            finally:
                trainer.kill_all()


def _wait_for_log(child: Child, words: str) -> None:
    give_up_s = time.monotonic() + 120.0
    while not child.said(words) and time.monotonic() < give_up_s:
        time.sleep(0.1)


class Clock:
    """The wall clock of processes that libfaketime is loaded into; their monotonic clock is unchanged."""

    def __init__(self, file: Path, library: Path) -> None:
        self._file = file
        self.environment = {
            "LD_PRELOAD": str(library),
            "FAKETIME_TIMESTAMP_FILE": str(file),
            "FAKETIME_CACHE_DURATION": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }
        self.be_wrong_by("+0")

    def be_wrong_by(self, shift: str) -> None:
        part = self._file.with_suffix(".part")
        part.write_text(f"{shift}\n", encoding="ascii")
        part.replace(self._file)


def find_library() -> Path | None:
    places = [Path(folder) / "faketime" / "libfaketimeMT.so.1" for folder in LIBRARIES]
    return next((place for place in places if place.exists()), None)
