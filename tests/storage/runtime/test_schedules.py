"""Schedules are read as cron reads them, and refused by the name of their setting."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select

from storage.database.database import Database
from storage.database.tables import ScheduleRow
from storage.errors import SettingsError
from storage.runtime.schedules import begin_schedule, parse_schedule, take_due
from tests.storage.together import together

pytestmark = pytest.mark.both_databases

WEDNESDAY_NOON = datetime(2026, 11, 4, 12, tzinfo=UTC)


@pytest.mark.parametrize("text", ["", "  "])
def test_an_empty_schedule_is_none(text: str) -> None:
    assert parse_schedule("arena.schedule", text) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0 4 * * *", datetime(2026, 11, 5, 4, tzinfo=UTC)),
        ("*/30 * * * *", datetime(2026, 11, 4, 12, 0, tzinfo=UTC)),
        ("0 4 * * 0", datetime(2026, 11, 8, 4, tzinfo=UTC)),  # a Sunday, as in cron
        ("0 4 * * 7", datetime(2026, 11, 8, 4, tzinfo=UTC)),
        ("0 4 * * 1", datetime(2026, 11, 9, 4, tzinfo=UTC)),
        ("0 4 * * mon,FRI", datetime(2026, 11, 6, 4, tzinfo=UTC)),
        ("0 4 * * 1-5/2", datetime(2026, 11, 6, 4, tzinfo=UTC)),  # Monday, Wednesday, Friday
        ("0 4 * * 6-1", datetime(2026, 11, 7, 4, tzinfo=UTC)),
        ("0 4 * * */2", datetime(2026, 11, 5, 4, tzinfo=UTC)),  # Sunday, Tuesday, Thursday, Saturday
        ("0 4 1 * *", datetime(2026, 12, 1, 4, tzinfo=UTC)),
        ("0 4 13 * 5", datetime(2026, 11, 6, 4, tzinfo=UTC)),  # a Friday or the 13th
        ("0 4 5 * fri", datetime(2026, 11, 5, 4, tzinfo=UTC)),
        ("0 4 */2 * fri", datetime(2026, 11, 13, 4, tzinfo=UTC)),  # cron: both, where one begins with a star
    ],
)
def test_a_schedule_is_read_as_cron_reads_it(text: str, expected: datetime) -> None:
    assert parse_schedule("arena.schedule", text).get_next_fire_time(None, WEDNESDAY_NOON) == expected


@pytest.mark.parametrize("text", ["daily", "0 4 * *", "61 4 * * *", "0 4 * * 8", "0 4 * * someday", "0 4 31 2 *"])
def test_a_bad_schedule_is_refused_by_name(text: str) -> None:
    with pytest.raises(SettingsError, match=r"arena\.schedule") as refusal:
        parse_schedule("arena.schedule", text)
    assert text in str(refusal.value)


YEARLY = parse_schedule("training.schedule", "0 0 1 7 *")


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


def test_one_of_several_simultaneous_trainers_gets_the_scheduled_round(database: Database) -> None:
    def trainer(_: int) -> bool:
        begin(database, ago(days=800))
        return look(database)

    assert sorted(together(4, trainer)) == [False, False, False, True]


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
