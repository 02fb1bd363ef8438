"""Starts the arenas whose time a server chose in `/setup`."""

from __future__ import annotations

import logging

from bot.arenas.host import ArenaHost
from bot.background import DueTimes
from bot.guards.quiet_hours import is_quiet
from bot.services import Services
from storage.database.columns import utc_now
from storage.errors import SettingsError
from storage.runtime.schedules import parse_schedule
from storage.servers import ServerSetup, schedule_of_arenas

log = logging.getLogger(__name__)


class ServerSchedules:
    def __init__(self, services: Services, host: ArenaHost) -> None:
        self._services = services
        self._host = host
        self._due = DueTimes(services.database)
        self._broken: set[tuple[int, int]] = set()
        """Servers whose schedule the log has named, with the generation of their choices."""

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
        if (setup.guild_id, setup.generation) in self._broken:
            return False
        try:
            trigger = parse_schedule("arena.schedule", setup.choices.arena_schedule)
        except SettingsError as error:
            log.warning("Server %d: no arenas start until its admins use /setup again: %s", setup.guild_id, error)
            self._broken.add((setup.guild_id, setup.generation))
            return False
        return trigger is not None and await self._due.take(
            schedule_of_arenas(setup.guild_id), setup.generation, trigger
        )
