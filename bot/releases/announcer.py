"""Announces releases."""

from __future__ import annotations

import asyncio
import logging
from functools import partial

from discord.ext import commands
from sqlalchemy.orm import Session

from bot.discord_errors import DISCORD_ERRORS, is_temporary
from bot.guards.quiet_hours import is_quiet
from bot.localization.languages import languages_of
from bot.localization.sentences import speaking
from bot.personalities.selection import signed
from bot.releases.watcher import ReleaseState
from bot.services import Services
from bot.text.releases import describe_announcement
from bot.text.splitting import MAX_MESSAGE_CHARS
from storage.database.columns import utc_now
from storage.operations.outbox import announce_waiting
from storage.personalities.personalities import Personality, list_personalities
from storage.releases.announcements import Announceable, PromotionAnnouncement, prepare_announcement, unannounced
from storage.settings.sections import Settings
from storage.taste.learning import learn_taste
from storage.taste.words import likings, name_likings

log = logging.getLogger(__name__)


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
        if is_quiet(self._services.settings.chat, utc_now()):
            return False
        personalities = await self._services.database.read(list_personalities, archived=None)
        return all([await self._announce_all(personality) for personality in personalities])

    async def _announce_all(self, personality: Personality) -> bool:
        database = self._services.database
        find = partial(unannounced, personality_id=personality.id)
        if await database.read(find):
            announce = partial(self._announce, personality)
            # The bot waits for this task when it closes: what is marked as announced must be sent.
            await asyncio.shield(
                self._services.tasks.spawn(announce_waiting(database, find, announce), "announce releases")
            )
        return not await database.read(find)

    async def _announce(self, personality: Personality, news: Announceable) -> bool:
        """Return False if Discord has trouble, so that the announcement is sent later."""
        channel_id = self._services.settings.release.announce_channel
        if not channel_id:
            return True
        announcement = await self._services.database.read(prepare_announcement, news)
        liked = ""
        if isinstance(announcement, PromotionAnnouncement) and announcement.rounds:
            liked = await self._services.database.read(_what_people_like, personality.id, self._services.settings)
        with speaking(languages_of(self._bot).of_channel(channel_id)):
            text = signed(personality, describe_announcement(announcement, liked))
        try:
            if not await self._concerns(channel_id, personality):
                return True
            await self._bot.get_partial_messageable(channel_id).send(text[:MAX_MESSAGE_CHARS])
        except DISCORD_ERRORS as error:
            if is_temporary(error):
                log.warning("A release cannot be announced now; trying again: %s", error)
                return False
            if not self._has_warned:
                log.error(
                    "Releases cannot be announced in channel %d (%s): let the bot see it and send messages there, or "
                    "set release.announce_channel to another channel, or to 0.",
                    channel_id,
                    error,
                )
            self._has_warned = True
        return True

    async def _concerns(self, channel_id: int, personality: Personality) -> bool:
        """Return whether the channel's server knows the personality: a server's own one is not announced elsewhere."""
        if personality.guild_id is None:
            return True
        # Another process may serve the channel's server, so it may not be in the cache.
        channel = self._bot.get_channel(channel_id) or await self._bot.fetch_channel(channel_id)
        guild = getattr(channel, "guild", None)
        return guild is not None and guild.id == personality.guild_id


def _what_people_like(session: Session, personality_id: int, settings: Settings) -> str:
    return name_likings(likings(learn_taste(session, personality_id, settings)))
