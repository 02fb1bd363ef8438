from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from apscheduler.triggers.base import BaseTrigger
from sqlalchemy import text as sql

from storage.database.database import Database
from storage.database.enums import RoundStatus
from storage.errors import SettingsError
from storage.personalities.personalities import ensure_personality
from storage.runtime.schedules import begin_schedule, parse_schedule
from storage.training.rounds import Round, claim_round, finish_round, latest_round
from trainer.rounds.schedule import NAME, SETTING, request_due_rounds, request_rounds, scheduled_rounds

DAILY = "0 4 * * *"


def latest(database: Database, personality: str = "default") -> Round | None:
    with database.transaction() as session:
        return latest_round(session, ensure_personality(session, personality))


def wait_for(condition: Callable[[], object], seconds: float = 60.0) -> None:
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
        pass  # it checks at least once
    assert latest(database) is None


def test_every_personality_gets_a_round_and_an_open_one_is_not_doubled(database: Database) -> None:
    assert latest(database, "pirate") is None
    for _ in range(2):
        with database.transaction() as session:
            request_rounds(session)
    first, second = latest(database), latest(database, "pirate")
    assert first is not None
    assert second is not None
    assert {first.id, second.id} == {1, 2}


def test_a_round_that_cannot_be_asked_for_is_asked_for_later(database: Database) -> None:
    with database.transaction() as session:
        begin_schedule(session, NAME, datetime.now(UTC) - timedelta(days=3))
        session.execute(sql("ALTER TABLE rounds RENAME TO rounds_away"))
    request_due_rounds(database, trigger())
    with database.transaction() as session:
        session.execute(sql("ALTER TABLE rounds_away RENAME TO rounds"))
    request_due_rounds(database, trigger())
    assert latest(database) is not None


def test_a_round_that_was_missed_is_asked_for_once_by_all_trainers(database: Database) -> None:
    asked = []
    for _ in range(2):  # the first trainer's round has ended when the second one, which was away as well, comes back
        with scheduled_rounds(database, DAILY, datetime.now(UTC) - timedelta(days=3)):
            pass  # it checks at least once
        with database.transaction() as session:
            round_ = claim_round(session, "here")
            if round_ is not None:
                asked.append(round_.id)
                finish_round(session, round_.id, RoundStatus.SKIPPED, "nothing to do")
    assert asked == [1]


def test_a_schedule_that_is_set_again_makes_up_for_nothing(database: Database) -> None:
    with database.transaction() as session:
        begin_schedule(session, NAME, datetime.now(UTC) - timedelta(days=90))
    with scheduled_rounds(database, DAILY, datetime.now(UTC)):  # the trainer lived all the time, without a schedule
        pass  # it checks at least once
    assert latest(database) is None


def trigger() -> BaseTrigger:
    found = parse_schedule(SETTING, DAILY)
    assert found is not None
    return found
