"""Starts the arenas whose time a server chose in `/setup`."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta

from bot.arenas.host import ArenaHost
from bot.guards.quiet_hours import is_quiet
from bot.services import Services
from storage.database.columns import utc_now
from storage.errors import SettingsError
from storage.runtime.schedules import parse_schedule, take_due
from storage.servers import ServerSetup, schedule_of_arenas

log = logging.getLogger(__name__)

LAG = timedelta(minutes=1)
"""How much the database's clock may be behind this one."""


class ServerSchedules:
    def __init__(self, services: Services, host: ArenaHost) -> None:
        self._services = services
        self._host = host
        self._asks_at: dict[tuple[int, int], datetime] = {}
        """{(server, generation of its choices): when to ask the database again}"""

    async def start_due(self) -> None:
        """Start the arenas that are due; in quiet hours they wait for their end."""
        services = self._services
        if is_quiet(services.settings.chat, utc_now()):
            return
        for setup in services.setups.all():
            if services.shards.serve(setup.guild_id) and await self._is_due(setup):
                start = self._host.start_scheduled(setup.choices.arena_channel, by_server=True)
                services.tasks.spawn(start, "scheduled arena")

    async def _is_due(self, setup: ServerSetup) -> bool:
        """Ask the database, the first time and after each time that the schedule names."""
        now, key = utc_now(), (setup.guild_id, setup.generation)
        if now < self._asks_at.get(key, now):
            return False
        try:
            trigger = parse_schedule("arena.schedule", setup.choices.arena_schedule)
        except SettingsError as error:
            log.warning("Server %d: no arenas start until its admins use /setup again: %s", setup.guild_id, error)
            self._asks_at[key] = datetime.max.replace(tzinfo=UTC)
            return False
        if trigger is None:
            return False
        is_due = await self._services.database.run(take_due, schedule_of_arenas(setup.guild_id), trigger)
        following = trigger.get_next_fire_time(None, now)
        self._asks_at[key] = (following or now) + LAG
        return is_due
