from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from apscheduler.schedulers.background import BackgroundScheduler
from sqlalchemy import text as sql

from storage.cron import parse_schedule
from storage.database import Database, open_database
from storage.errors import SettingsError
from storage.personalities import ensure_personality
from storage.rounds import Round, latest_round
from storage.schema import RoundStatus
from storage.settings import DataSettings, Settings
from trainer.schedule import JOB_ID, RETRY_S, SETTING, ask_for_rounds, request_rounds, scheduled_rounds

DAILY = "0 4 * * *"


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = open_database(Settings(data=DataSettings(directory=tmp_path)))
    yield database
    database.close()


def latest(database: Database, personality: str = "default") -> Round | None:
    with database.transaction() as session:
        return latest_round(session, ensure_personality(session, personality))


def wait_for(condition: Callable[[], object], seconds: float = 5.0) -> None:
    give_up_at = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < give_up_at, "it did not happen in time"
        time.sleep(0.02)


@pytest.mark.parametrize("text", ["daily", "0 4 31 2 *"])
def test_a_bad_schedule_is_refused_by_name(database: Database, text: str) -> None:
    with pytest.raises(SettingsError, match=r"training\.schedule"), scheduled_rounds(database, text, None):
        pass


def test_an_empty_schedule_asks_for_nothing(database: Database) -> None:
    with scheduled_rounds(database, " ", datetime.now(UTC) - timedelta(days=9)):
        pass
    assert latest(database) is None


def test_a_round_missed_while_the_trainer_was_down_is_asked_for_at_once(database: Database) -> None:
    with scheduled_rounds(database, DAILY, datetime.now(UTC) - timedelta(days=3)):
        wait_for(lambda: latest(database))
    missed = latest(database)
    assert missed is not None
    assert (missed.id, missed.status, missed.requested_by) == (1, RoundStatus.REQUESTED, "schedule")


@pytest.mark.parametrize("last_life", [None, datetime.now(UTC)])
def test_nothing_is_asked_for_before_its_time(database: Database, last_life: datetime | None) -> None:
    in_half_a_year = datetime.now(UTC) + timedelta(days=180)
    with scheduled_rounds(database, f"0 4 {in_half_a_year.day} {in_half_a_year.month} *", last_life):
        time.sleep(0.3)
    assert latest(database) is None


def test_every_personality_gets_a_round_and_an_open_one_is_not_doubled(database: Database) -> None:
    assert latest(database, "pirate") is None
    request_rounds(database)
    request_rounds(database)
    first, second = latest(database), latest(database, "pirate")
    assert first is not None
    assert second is not None
    assert {first.id, second.id} == {1, 2}


def test_a_round_that_cannot_be_asked_for_is_tried_again_soon(database: Database) -> None:
    with database.transaction() as session:
        session.execute(sql("ALTER TABLE rounds RENAME TO rounds_away"))
    scheduler = BackgroundScheduler(timezone=UTC)
    scheduler.add_job(ask_for_rounds, parse_schedule(SETTING, DAILY), args=[scheduler, database], id=JOB_ID)
    scheduler.start(paused=True)
    ask_for_rounds(scheduler, database)
    wait = scheduler.get_job(JOB_ID).next_run_time - datetime.now(UTC)
    scheduler.shutdown()
    assert timedelta() < wait <= timedelta(seconds=RETRY_S)
