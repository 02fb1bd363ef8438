"""Lets go of what has been kept long enough: once a day and at the start, a little at a time."""

from __future__ import annotations

import asyncio
import logging
from datetime import datetime

from discord.ext import commands

from bot.services import Services
from storage.privacy.retention import (
    Pruned,
    complete_departure,
    departed_before,
    keeps_until,
    past_replies,
    prune_replies,
    prune_rest,
)
from storage.wording import count

log = logging.getLogger(__name__)

INTERVAL_S = 24 * 3600.0
PAUSE_S = 0.05
"""Between two transactions, so that a vote that waits comes first."""


class Retention(commands.Cog):
    def __init__(self, bot: commands.AutoShardedBot, services: Services) -> None:
        self.bot = bot
        self.services = services
        self._pruning: asyncio.Task[None] | None = None

    async def cog_load(self) -> None:
        if self.services.fixed_basis is None:  # what is said outside Discord is kept
            self._pruning = self.services.tasks.repeat(self._prune, INTERVAL_S, "delete what was kept long enough")

    async def cog_unload(self) -> None:
        if self._pruning is not None:
            self._pruning.cancel()

    async def _prune(self) -> None:
        before = keeps_until(self.services.settings.privacy)
        if before is None or not self.services.shards.lead:
            return
        gone = await self._complete_departures(before)
        pruned = await self._prune_replies(before) + await self._prune_rest(before)
        log.info(
            "Kept long enough, and gone now: %s, %s, %s, %s, %s, and the data of %d who left.",
            count(pruned.replies, "answer"),
            count(pruned.votes, "vote event"),
            count(pruned.corrections, "suggestion"),
            count(pruned.summaries, "summary", "summaries"),
            count(pruned.memberships, "date of joining", "dates of joining"),
            gone,
        )

    async def _prune_replies(self, before: datetime) -> Pruned:
        total = Pruned()
        while due := await self.services.database.read(past_replies, before):
            total += await self.services.database.run(prune_replies, before, due)
            await asyncio.sleep(PAUSE_S)
        return total

    async def _prune_rest(self, before: datetime) -> Pruned:
        total = Pruned()
        while gone := await self.services.database.run(prune_rest, before):
            total += gone
            await asyncio.sleep(PAUSE_S)
        return total

    async def _complete_departures(self, before: datetime) -> int:
        """Delete what is kept of those who left long enough ago; return how many they were."""
        gone = 0
        for departure in await self.services.database.read(departed_before, before):
            erased = await self.services.database.run(complete_departure, departure)
            if erased is not None:
                gone += 1
                marked = f"; marked: {', '.join(erased.marked)}" if erased.marked else ""
                who = "a server" if departure.is_of_server else "a member"
                log.info("Deleted what was kept of %s that left: %d answers%s.", who, erased.replies, marked)
            await asyncio.sleep(PAUSE_S)
        return gone


async def setup(bot: commands.AutoShardedBot, services: Services) -> None:
    await bot.add_cog(Retention(bot, services))
