"""Schedules are read as cron reads them, and refused by the name of their setting."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from storage.cron import parse_schedule
from storage.errors import SettingsError

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
    ],
)
def test_a_schedule_is_read_as_cron_reads_it(text: str, expected: datetime) -> None:
    trigger = parse_schedule("arena.schedule", text)
    assert trigger is not None
    assert trigger.get_next_fire_time(None, WEDNESDAY_NOON) == expected


@pytest.mark.parametrize("text", ["daily", "0 4 * *", "61 4 * * *", "0 4 * * 8", "0 4 * * someday", "0 4 31 2 *"])
def test_a_bad_schedule_is_refused_by_name(text: str) -> None:
    with pytest.raises(SettingsError, match=r"arena\.schedule") as refusal:
        parse_schedule("arena.schedule", text)
    assert text in str(refusal.value)
