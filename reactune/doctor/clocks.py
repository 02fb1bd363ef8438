"""Clocks: this machine's beside those of Discord and of the database, on which the age of accounts and votes rests."""

from __future__ import annotations

import urllib.error
import urllib.request
from contextlib import closing
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

from sqlalchemy import text

from reactune.doctor.checks import Unwell
from storage.database.database import open_database
from storage.settings.sections import Settings

DISCORD = "https://discord.com/api/v10/gateway"
PATIENCE_S = 10.0
MOST_APART = timedelta(seconds=30)


def check_clock(settings: Settings) -> str:
    """Compare the clocks that can be asked; raises Unwell where one is far from this machine's."""
    asked = {"the database": database_time(settings)}
    if settings.discord_token is not None:
        asked["Discord"] = discord_time()
    told = [describe_difference(name, time - datetime.now(UTC)) for name, time in asked.items() if time is not None]
    return "; ".join(told) or "nothing to compare it with"


def describe_difference(name: str, difference: timedelta) -> str:
    seconds = difference.total_seconds()
    if abs(difference) > MOST_APART:
        raise Unwell(
            f"this machine's clock is {abs(seconds):.0f} s {'behind' if seconds > 0 else 'ahead of'} that of {name}: "
            "set it by the network (`timedatectl set-ntp true`); schedules and the age of accounts rest on it"
        )
    return f"{abs(seconds):.0f} s from that of {name}"


def database_time(settings: Settings) -> datetime | None:
    """Return the server's time; SQLite has no clock of its own."""
    if settings.database_url.startswith("sqlite"):
        return None
    with closing(open_database(settings)) as database, database.snapshot() as session:
        found: datetime = session.execute(text("SELECT clock_timestamp()")).scalar_one()
        return found


def discord_time() -> datetime | None:
    try:
        with urllib.request.urlopen(DISCORD, timeout=PATIENCE_S) as answer:
            return parsedate_to_datetime(answer.headers["Date"])
    except urllib.error.HTTPError as error:
        return parsedate_to_datetime(error.headers["Date"])
    except (OSError, TypeError, ValueError):
        return None
