"""Starts arenas on a schedule: late rather than never."""

from __future__ import annotations

import logging

import discord
from apscheduler.triggers.base import BaseTrigger
from sqlalchemy.orm import Session

from bot.arenas.host import ArenaHost, ArenaPlan, Channel, as_channel
from bot.errors import UserFacingError
from bot.guards.error_handler import is_expected, member_message
from bot.services import Services
from storage.errors import SettingsError
from storage.runtime.schedules import begin_schedule, parse_schedule, take_due
from storage.runtime.shards import Shards
from storage.settings.sections import ArenaSettings
from storage.votes.arenas import SCHEDULE, last_scheduled

log = logging.getLogger(__name__)


def arena_trigger(settings: ArenaSettings) -> BaseTrigger | None:
    """Return the trigger of scheduled arenas, or None if only admins start them; raises SettingsError."""
    trigger = parse_schedule("arena.schedule", settings.schedule)
    if trigger is not None and not settings.channel:
        raise SettingsError(
            "arena.schedule is set, but arena.channel is not: write the id of the channel for scheduled arenas"
        )
    return trigger


class ArenaSchedule:
    INTERVAL_S = 10.0

    def __init__(self, client: discord.Client, services: Services, host: ArenaHost) -> None:
        self._client = client
        self._services = services
        self._host = host
        self._settings = services.settings.arena
        self._trigger = arena_trigger(self._settings)

    @property
    def is_set(self) -> bool:
        return self._trigger is not None

    async def begin(self) -> None:
        """Watch the schedule from now on; a time missed since the last scheduled arena is still due."""
        if self.is_set:
            await self._services.database.run(_begin, self._services.shards)

    async def start_due(self) -> None:
        if await self._services.database.run(_take_due, self._services.shards, self._trigger):
            # A task of its own, so that unloading the cog does not cancel it.
            self._services.tasks.spawn(self.start_arena(), "scheduled arena")

    async def start_arena(self) -> None:
        settings = self._settings
        try:
            channel = await self._find_channel()
            if not self._services.shards.serve(channel.guild.id):
                return  # the process that serves this server starts it
            arena = await self._host.start(ArenaPlan(channel, None, settings.answers, settings.minutes, SCHEDULE))
        except Exception as error:
            reason = error if is_expected(error) else member_message(error)
            log.warning("The scheduled arena did not start: %s", reason)
        else:
            log.info("The schedule started arena %d.", arena.id)

    def describe(self) -> str:
        if not self.is_set:
            return "**Schedule:** none; admins start arenas"
        return f"**Schedule:** `{self._settings.schedule}` UTC in <#{self._settings.channel}>"

    async def _find_channel(self) -> Channel:
        channel_id = self._settings.channel
        try:
            return as_channel(self._client.get_channel(channel_id) or await self._client.fetch_channel(channel_id))
        except discord.HTTPException as error:
            raise UserFacingError(
                f"I can't see a channel with the id arena.channel = {channel_id}: correct the setting."
            ) from error


def _begin(session: Session, shards: Shards) -> None:
    begin_schedule(session, _name(shards), last_scheduled(session))


def _take_due(session: Session, shards: Shards, trigger: BaseTrigger) -> bool:
    return take_due(session, _name(shards), trigger)


def _name(shards: Shards) -> str:
    """Every process polls for itself: only Discord can say which one serves the channel."""
    return f"arenas of {shards.names[0]}"
