"""Notices who left a server, and which servers the bot left: from then on their data has its days counted."""

from __future__ import annotations

import asyncio
import logging

import discord
from discord.ext import commands
from sqlalchemy.orm import Session

from bot.services import Services
from storage.privacy.retention import cancel_departures, departed_from, known_guilds, known_members, note_departure

log = logging.getLogger(__name__)

LOOK_INTERVAL_S = 24 * 3600.0
MEMBERS_AT_ONCE = 100  # Discord's limit
MISSING_ACCESS = 50001  # of Discord's error codes


class Departures(commands.Cog):
    """Discord tells who leaves only with the members intent, so members are also asked about once a day."""

    def __init__(self, bot: commands.AutoShardedBot, services: Services) -> None:
        self.bot = bot
        self.services = services
        self._looking: asyncio.Task[None] | None = None

    async def cog_load(self) -> None:
        if self.services.fixed_basis is None:  # a simulated server is no place that anybody leaves
            self._looking = self.services.tasks.repeat(self._look, LOOK_INTERVAL_S, "look up who left")

    async def cog_unload(self) -> None:
        if self._looking is not None:
            self._looking.cancel()

    @commands.Cog.listener()
    async def on_guild_remove(self, guild: discord.Guild) -> None:
        if await self.services.database.run(note_departure, guild.id):
            log.info("I am no longer in server %d: what is kept of it goes unless I come back.", guild.id)

    @commands.Cog.listener()
    async def on_guild_join(self, guild: discord.Guild) -> None:
        await self.services.database.run(cancel_departures, guild.id)

    @commands.Cog.listener()
    async def on_raw_member_remove(self, payload: discord.RawMemberRemoveEvent) -> None:
        await self.services.database.run(note_departure, payload.guild_id, payload.user.id)

    @commands.Cog.listener()
    async def on_member_join(self, member: discord.Member) -> None:
        await self.services.database.run(cancel_departures, member.guild.id, {member.id})

    async def _look(self) -> None:
        await self.bot.wait_until_ready()
        try:
            await self._look_at_guilds()
        except (discord.DiscordException, TimeoutError) as error:
            log.warning("Could not ask Discord who left (%s); trying again tomorrow.", error)

    async def _look_at_guilds(self) -> None:
        for guild_id in sorted(await self.services.database.read(known_guilds)):
            guild = self.bot.get_guild(guild_id)
            if guild is not None:
                await self.services.database.run(cancel_departures, guild_id)
                if not guild.unavailable:
                    await self._look_at_members(guild)
            elif self.services.shards.serve(guild_id) and await self._has_left(guild_id):
                await self.services.database.run(note_departure, guild_id)

    async def _has_left(self, guild_id: int) -> bool:
        """Ask Discord: a server that is not among ours may only not have come yet."""
        try:
            await self.bot.fetch_guild(guild_id, with_counts=False)
        except discord.NotFound:
            return True
        except discord.Forbidden as error:
            return error.code == MISSING_ACCESS
        return False

    async def _look_at_members(self, guild: discord.Guild) -> None:
        asked = sorted(await self.services.database.read(_concerned, guild.id))
        for start in range(0, len(asked), MEMBERS_AT_ONCE):
            some = asked[start : start + MEMBERS_AT_ONCE]
            found = await guild.query_members(user_ids=some, limit=MEMBERS_AT_ONCE, cache=False)
            present = {member.id for member in found}
            await self.services.database.run(_note, guild.id, present, set(some) - present)


def _concerned(session: Session, guild_id: int) -> set[int]:
    return known_members(session, guild_id) | departed_from(session, guild_id)


def _note(session: Session, guild_id: int, present: set[int], gone: set[int]) -> None:
    cancel_departures(session, guild_id, present)
    for user_id in sorted(gone):
        note_departure(session, guild_id, user_id)


async def setup(bot: commands.AutoShardedBot, services: Services) -> None:
    await bot.add_cog(Departures(bot, services))
