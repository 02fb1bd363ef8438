"""Compares this machine's clock with Discord's and the database's; the ages of accounts and votes depend on it."""

from __future__ import annotations

import math
import urllib.error
import urllib.request
from contextlib import closing
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

from sqlalchemy import text

from reactune.doctor.findings import Problem
from storage.database.database import open_database
from storage.settings.sections import Settings

DISCORD = "https://discord.com/api/v10/gateway"
TIMEOUT_S = 10.0
MAX_DIFFERENCE = timedelta(seconds=30)


def check_clock(settings: Settings) -> str:
    """Compare the clocks that can be read; raises Problem if one differs too much from this machine's."""
    times = {"the database": database_time(settings)}
    if settings.discord_token is not None:
        times["Discord"] = discord_time()
    found = [describe_difference(name, time - datetime.now(UTC)) for name, time in times.items() if time is not None]
    return "; ".join(found) or "no other clock to compare with"


def describe_difference(name: str, difference: timedelta) -> str:
    seconds = difference.total_seconds()
    if abs(difference) > MAX_DIFFERENCE:
        raise Problem(
            f"this machine's clock is {abs(seconds):.0f} s {'behind' if seconds > 0 else 'ahead of'} {name}'s: "
            "synchronize it (`timedatectl set-ntp true`), because schedules and account ages depend on it"
        )
    return f"within {math.ceil(abs(seconds))} s of {name}'s"


def database_time(settings: Settings) -> datetime | None:
    """Return the database server's time; None for SQLite, which has no clock."""
    if settings.database_url.startswith("sqlite"):
        return None
    with closing(open_database(settings)) as database, database.snapshot() as session:
        found: datetime = session.execute(text("SELECT clock_timestamp()")).scalar_one()
        return found


def discord_time() -> datetime | None:
    try:
        with urllib.request.urlopen(DISCORD, timeout=TIMEOUT_S) as answer:
            return parsedate_to_datetime(answer.headers["Date"])
    except urllib.error.HTTPError as error:
        return parsedate_to_datetime(error.headers["Date"])
    except (OSError, TypeError, ValueError):
        return None
