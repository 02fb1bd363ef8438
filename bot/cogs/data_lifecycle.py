"""Deletes stored data when its time is up, and starts that time for members and servers that leave."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection
from datetime import datetime

import discord
from discord.ext import commands
from sqlalchemy.orm import Session

from bot.discord_errors import DISCORD_ERRORS
from bot.guards.interactions import BotCog
from storage.operations.console_sessions import delete_ended_sessions
from storage.privacy import ownership
from storage.privacy.retention import (
    Expiry,
    Pruned,
    cancel_departures,
    complete_departure,
    departed_before,
    note_departure,
    past_replies,
    prune_replies,
    prune_rest,
    read_expiry,
)
from storage.wording import count

log = logging.getLogger(__name__)

INTERVAL_S = 24 * 3600.0
PAUSE_S = 0.05
"""Between two transactions, so that members' votes are stored first."""
MEMBERS_AT_ONCE = 100  # Discord's limit
MISSING_ACCESS = 50001  # Discord's error code


class DataLifecycle(BotCog):
    """Outside Discord nobody leaves and nothing is deleted by age.

    Without the members intent, Discord does not report who leaves, so once a day the bot also asks.
    """

    async def cog_load(self) -> None:
        if self.services.fixed_basis is None:
            self.services.tasks.repeat(self._find_departures, INTERVAL_S, "look up who left")
            self.services.tasks.repeat(self._prune, INTERVAL_S, "delete data whose retention time is over")

    # Who left

    @commands.Cog.listener()
    async def on_guild_remove(self, guild: discord.Guild) -> None:
        if await self.services.database.run(note_departure, guild.id):
            log.info(
                "The bot was removed from server %d: its data will be deleted unless the bot is added again.", guild.id
            )

    @commands.Cog.listener()
    async def on_guild_join(self, guild: discord.Guild) -> None:
        await self.services.database.run(cancel_departures, guild.id)

    @commands.Cog.listener()
    async def on_raw_member_remove(self, payload: discord.RawMemberRemoveEvent) -> None:
        await self.services.database.run(note_departure, payload.guild_id, payload.user.id)

    @commands.Cog.listener()
    async def on_member_join(self, member: discord.Member) -> None:
        await self.services.database.run(cancel_departures, member.guild.id, {member.id})

    async def _find_departures(self) -> None:
        await self.bot.wait_until_ready()
        checked: set[int] = set()
        for guild_id in sorted(await self.services.database.read(ownership.known_guilds)):
            try:
                if await self._check_guild(guild_id):
                    checked.add(guild_id)
            except DISCORD_ERRORS as error:
                log.warning("Could not ask who left server %d (%s); trying again tomorrow.", guild_id, error)
        await self._complete_departures(checked)

    async def _check_guild(self, guild_id: int) -> bool:
        """Record who left the server and who came back; return False if Discord did not say."""
        guild = self.bot.get_guild(guild_id)
        if guild is not None:
            await self.services.database.run(cancel_departures, guild_id)
            if not guild.unavailable:
                await self._check_members(guild)
            return not guild.unavailable
        has_left = self.services.shards.serve(guild_id) and await self._has_left(guild_id)
        if has_left:
            await self.services.database.run(note_departure, guild_id)
        return has_left

    async def _has_left(self, guild_id: int) -> bool:
        """Ask Discord: a server that is missing from the cache may only not have loaded yet."""
        try:
            await self.bot.fetch_guild(guild_id, with_counts=False)
        except discord.NotFound:
            return True
        except discord.Forbidden as error:
            return error.code == MISSING_ACCESS
        return False

    async def _check_members(self, guild: discord.Guild) -> None:
        stored = await self.services.database.read(ownership.known_members, guild.id)
        for batch in discord.utils.as_chunks(sorted(stored), MEMBERS_AT_ONCE):
            found = await guild.query_members(user_ids=batch, limit=MEMBERS_AT_ONCE, cache=False)
            present = {member.id for member in found}
            await self.services.database.run(_note_members, guild.id, present, set(batch) - present)

    async def _complete_departures(self, guild_ids: Collection[int]) -> None:
        """Delete the data of members and servers that left long ago, in servers where nobody came back unseen."""
        expiry = read_expiry(self.services.settings.privacy)
        departures = await self.services.database.read(departed_before, expiry.before) if expiry else []
        for departure in departures:
            if departure.guild_id not in guild_ids:
                continue
            erased = await self.services.database.run(complete_departure, departure)
            if erased is not None:
                who = "server" if departure.is_of_server else "member"
                marked = f"; versions marked: {', '.join(erased.marked)}" if erased.marked else ""
                log.info("Deleted the data of a departed %s: %s%s.", who, count(erased.replies, "answer"), marked)
            await asyncio.sleep(PAUSE_S)

    # What is old

    async def _prune(self) -> None:
        if not self.services.shards.lead:
            return
        await self.services.database.run(delete_ended_sessions)
        expiry = read_expiry(self.services.settings.privacy)
        if expiry is None:
            return
        pruned = await self._prune_replies(expiry) + await self._prune_rest(expiry.before)
        log.info(
            "Retention clean-up deleted %s, %s, %s, %s and %s.",
            count(pruned.replies, "answer"),
            count(pruned.votes, "vote event"),
            count(pruned.corrections, "suggestion"),
            count(pruned.summaries, "summary", "summaries"),
            count(pruned.memberships, "join date"),
        )

    async def _prune_replies(self, expiry: Expiry) -> Pruned:
        total = Pruned()
        while due := await self.services.database.read(past_replies, expiry):
            total += await self.services.database.run(prune_replies, expiry, due)
            await asyncio.sleep(PAUSE_S)
        return total

    async def _prune_rest(self, before: datetime) -> Pruned:
        total = Pruned()
        while pruned := await self.services.database.run(prune_rest, before):
            total += pruned
            await asyncio.sleep(PAUSE_S)
        return total


def _note_members(session: Session, guild_id: int, present: set[int], gone: set[int]) -> None:
    cancel_departures(session, guild_id, present)
    for user_id in sorted(gone):
        note_departure(session, guild_id, user_id)
