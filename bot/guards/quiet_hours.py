"""Quiet hours: the bot answers those who call it, and starts nothing by itself."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

from storage.settings.sections import ChatSettings, parse_quiet_hours


def is_quiet(settings: ChatSettings, at: datetime) -> bool:
    """Return whether a moment is in the quiet hours, which may go past midnight."""
    hours = parse_quiet_hours(settings.quiet_hours)
    if hours is None:
        return False
    start, end = hours
    now = at.astimezone(ZoneInfo(settings.time_zone)).time()
    return start <= now < end if start < end else now >= start or now < end
