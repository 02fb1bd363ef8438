"""What falls due is told once, on both databases, however many look."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from sqlalchemy import select

from storage.cron import parse_schedule
from storage.database.database import Database
from storage.database.tables import ScheduleRow
from storage.schedules import begin_schedule, take_due
from tests.storage.together import together

YEARLY = parse_schedule("training.schedule", "0 0 1 7 *")
assert YEARLY is not None


def ago(**span: float) -> datetime:
    return datetime.now(UTC) - timedelta(**span)


def begin(database: Database, since: datetime | None) -> None:
    with database.transaction() as session:
        begin_schedule(session, "rounds", since)


def look(database: Database) -> bool:
    with database.transaction() as session:
        return take_due(session, "rounds", YEARLY)


def seen_until(database: Database) -> datetime:
    with database.snapshot() as session:
        return session.scalars(select(ScheduleRow.seen_until)).one()


def test_many_that_begin_and_look_at_once_are_told_once(database: Database) -> None:
    told: list[bool] = []

    def trainer(_: int) -> None:
        begin(database, ago(days=800))
        told.append(look(database))

    together(4, trainer)
    assert sorted(told) == [False, False, False, True]


def test_the_latest_look_counts(database: Database) -> None:
    begin(database, ago(days=800))
    begin(database, None)
    assert look(database), "nobody has looked for two years"
    begin(database, ago(days=400))
    assert not look(database)


def test_a_clock_that_is_set_back_makes_nothing_due_twice(database: Database) -> None:
    begin(database, ago(seconds=-30))
    assert not look(database)
    assert seen_until(database) > datetime.now(UTC)


def test_a_clock_that_was_far_ahead_is_forgotten(database: Database) -> None:
    begin(database, ago(days=-400))
    assert not look(database)
    assert seen_until(database) < datetime.now(UTC) + timedelta(seconds=5)
