from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from bot.guards.quiet_hours import is_quiet
from storage.database.columns import utc_now
from storage.settings.sections import ChatSettings


def around_now() -> str:
    """Return quiet hours that are now."""
    start, end = utc_now() - timedelta(hours=1), utc_now() + timedelta(hours=1)
    return f"{start:%H:%M}-{end:%H:%M}"


@pytest.mark.parametrize(
    ("hours", "zone", "at", "quiet"),
    [
        ("", "UTC", "2026-01-01 03:00", False),
        ("22:00-07:00", "UTC", "2026-01-01 21:59", False),
        ("22:00-07:00", "UTC", "2026-01-01 22:00", True),
        ("22:00-07:00", "UTC", "2026-01-02 06:59", True),
        ("22:00-07:00", "UTC", "2026-01-02 07:00", False),
        ("9:30 - 10:00", "UTC", "2026-01-01 09:45", True),
        ("9:30 - 10:00", "UTC", "2026-01-01 22:00", False),
        ("22:00-07:00", "Europe/Berlin", "2026-01-01 21:30", True),  # 22:30 there
        ("22:00-07:00", "Europe/Berlin", "2026-07-01 20:30", True),  # 22:30 there, in summer
        ("22:00-07:00", "Europe/Berlin", "2026-07-01 05:30", False),
        ("22:00-07:00", "Asia/Kolkata", "2026-01-01 01:29", True),
    ],
)
def test_quiet_hours_are_those_of_the_time_zone_and_go_past_midnight(
    hours: str, zone: str, at: str, quiet: bool
) -> None:
    settings = ChatSettings(quiet_hours=hours, time_zone=zone)
    assert is_quiet(settings, datetime.fromisoformat(at).replace(tzinfo=UTC)) is quiet
