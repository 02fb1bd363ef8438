"""Whether a schedule is due, asked of the database only when it may be."""

from __future__ import annotations

from datetime import datetime, timedelta

from apscheduler.triggers.base import BaseTrigger

from storage.database.columns import utc_now
from storage.database.database import Database
from storage.runtime.schedules import take_due

LAG = timedelta(minutes=1)
"""How much the database's clock may be behind this one."""


class DueTimes:
    def __init__(self, database: Database) -> None:
        self._database = database
        self._asks_at: dict[tuple[str, int], datetime] = {}
        """{(schedule, generation of what was chosen): when to ask the database again}"""

    async def take(self, name: str, generation: int, trigger: BaseTrigger) -> bool:
        """Return whether it is due, and nobody else does its work; ask the first time, and after each of its times."""
        now, key = utc_now(), (name, generation)
        if now < self._asks_at.get(key, now):
            return False
        is_due = await self._database.run(take_due, name, trigger)
        self._asks_at[key] = (trigger.get_next_fire_time(None, now) or now) + LAG
        return is_due
