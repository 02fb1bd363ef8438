"""What follows a release: its announcement, and the evaluation of a canary."""

from __future__ import annotations

import asyncio
import logging
from functools import partial

import aiohttp
import discord
from discord.ext import commands

from bot.chat.message_stream import is_temporary
from bot.personalities.selection import signed
from bot.releases.watcher import ReleaseState
from bot.services import Services
from bot.text.releases import describe_announcement
from bot.text.splitting import MAX_MESSAGE_CHARS
from storage.database.engine import FAILURES
from storage.errors import StorageError
from storage.operations.outbox import tell_waiting
from storage.personalities.personalities import Personality, list_personalities
from storage.releases.announcements import Announceable, prepare_announcement, unannounced
from storage.releases.canaries import note_numbers
from storage.releases.canary_votes import Ending, Reading, read_canary
from storage.releases.promotion import conclude_canary
from storage.votes.quarantines import hold_back_bursts

log = logging.getLogger(__name__)


INTERVAL_S = 3.0


class CanaryEvaluator:
    def __init__(self, services: Services) -> None:
        self._services = services

    def start(self) -> None:
        self._services.tasks.repeat(self._evaluate_all, INTERVAL_S, "evaluate canaries")

    async def _evaluate_all(self) -> None:
        if self._services.shards.lead:
            for personality in await self._services.database.read(list_personalities, archived=None):
                await self._evaluate_safely(personality)

    async def _evaluate_safely(self, personality: Personality) -> None:
        """Evaluate one personality's canary; a failure does not stop the others."""
        try:
            await self._evaluate(personality)
        except FAILURES:
            raise
        except StorageError as error:
            log.warning("The canary of %s was not concluded and will be evaluated again: %s", personality.name, error)
        except Exception:
            log.exception("The canary of %s could not be evaluated; trying again.", personality.name)

    async def _evaluate(self, personality: Personality) -> None:
        database, votes = self._services.database, self._services.settings.votes
        reading = await database.read(read_canary, personality.id, votes)
        if reading is None:
            return
        if await self._services.releases.open_challenger(reading.canary) is None:
            await self._services.release_watcher.look()  # the canary has just ended
            return
        if reading.ending is not None:
            # Votes of a burst must not decide: if there was one, the next evaluation excludes it.
            if not await asyncio.to_thread(hold_back_bursts, database, personality.id, votes):
                await self._conclude(reading, reading.ending)
        elif reading.numbers != reading.canary.numbers:
            await database.run(note_numbers, reading.canary.id, reading.numbers)

    async def _conclude(self, reading: Reading, ending: Ending) -> None:
        if await self._services.database.run(conclude_canary, reading, ending):
            log.info("The canary of %s ended (%s): %s", reading.challenger.name, ending.status.value, ending.reason)
            await self._services.release_watcher.look()


class ReleaseAnnouncer:
    """A subscriber of the release watcher."""

    def __init__(self, bot: commands.AutoShardedBot, services: Services) -> None:
        self._bot = bot
        self._services = services
        self._has_warned = False

    async def __call__(self, _before: ReleaseState | None, _now: ReleaseState) -> bool:
        """Return False if something is still not announced, so that the watcher calls again."""
        if not self._services.shards.lead:
            return True
        personalities = await self._services.database.read(list_personalities, archived=None)
        return all([await self._announce_all(personality) for personality in personalities])

    async def _announce_all(self, personality: Personality) -> bool:
        database = self._services.database
        find = partial(unannounced, personality_id=personality.id)
        if await database.read(find):
            announce = partial(self._announce, personality)
            # The bot waits for this task when it closes: what is marked as announced must be sent.
            await asyncio.shield(
                self._services.tasks.spawn(tell_waiting(database, find, announce), "announce releases")
            )
        return not await database.read(find)

    async def _announce(self, personality: Personality, news: Announceable) -> bool:
        """Return False if Discord has trouble, so that the announcement is sent later."""
        channel_id = self._services.settings.release.announce_channel
        if not channel_id:
            return True
        announcement = await self._services.database.read(prepare_announcement, news)
        text = signed(personality, describe_announcement(announcement))
        try:
            if not await self._concerns(channel_id, personality):
                return True
            await self._bot.get_partial_messageable(channel_id).send(text[:MAX_MESSAGE_CHARS])
        except (discord.HTTPException, aiohttp.ClientError, OSError) as error:
            if not isinstance(error, discord.HTTPException) or is_temporary(error):
                log.warning("A release cannot be announced now; trying again: %s", error)
                return False
            self._warn_once(channel_id, error)
        return True

    async def _concerns(self, channel_id: int, personality: Personality) -> bool:
        """Return whether the channel's server knows the personality: a server's own one is not announced elsewhere."""
        if personality.guild_id is None:
            return True
        # Another process may serve the channel's server, so it may not be in the cache.
        channel = self._bot.get_channel(channel_id) or await self._bot.fetch_channel(channel_id)
        guild = getattr(channel, "guild", None)
        return guild is not None and guild.id == personality.guild_id

    def _warn_once(self, channel_id: int, error: discord.HTTPException) -> None:
        if not self._has_warned:
            log.error(
                "Releases cannot be announced in channel %d (%s): let the bot see it and send messages there, or set "
                "release.announce_channel to another channel, or to 0.",
                channel_id,
                error,
            )
        self._has_warned = True
