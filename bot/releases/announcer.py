"""Announces releases."""

from __future__ import annotations

import asyncio
import logging
from functools import partial

from discord.ext import commands
from sqlalchemy.orm import Session

from bot.discord_errors import DISCORD_ERRORS
from bot.guards.quiet_hours import is_quiet
from bot.releases.news_channels import News, NewsChannels
from bot.releases.watcher import ReleaseState
from bot.services import Services
from bot.text.releases import describe_announcement
from storage.database.columns import utc_now
from storage.operations.outbox import announce_waiting
from storage.personalities.personalities import Personality, list_personalities
from storage.releases.announcements import (
    Announceable,
    PromotionAnnouncement,
    find_comparison,
    prepare_announcement,
    unannounced,
)
from storage.settings.sections import Settings
from storage.taste.learning import learn_taste
from storage.taste.words import Effect, likings

log = logging.getLogger(__name__)


class ReleaseAnnouncer:
    """A subscriber of the release watcher.

    News count as announced once one channel has them, so that a restart repeats them nowhere. The channels where
    Discord had trouble are remembered in memory only: a restart before they were told loses their announcement.
    """

    def __init__(self, bot: commands.AutoShardedBot, services: Services) -> None:
        self._services = services
        self._channels = NewsChannels(bot, services)
        self._late: list[tuple[int, News]] = []
        """Channels that have not received news that others have."""

    async def __call__(self, _before: ReleaseState | None, _now: ReleaseState) -> bool:
        """Return False if something is still not announced everywhere, so that the watcher calls again."""
        if not self._services.shards.lead:
            return True
        if is_quiet(self._services.settings.chat, utc_now()):
            return False
        self._late = [late for late in self._late if not await self._channels.tell(*late)]
        personalities = await self._services.database.read(list_personalities, archived=None)
        return all([await self._announce_all(personality) for personality in personalities]) and not self._late

    async def _announce_all(self, personality: Personality) -> bool:
        database = self._services.database
        find = partial(unannounced, personality_id=personality.id)
        if not await database.read(find):
            return True
        announce = partial(self._announce, personality)
        # The bot waits for this task when it closes: what is marked as announced must be sent.
        await asyncio.shield(
            self._services.tasks.spawn(announce_waiting(database, find, announce), "announce releases")
        )
        return not await database.read(find)

    async def _announce(self, personality: Personality, entry: Announceable) -> bool:
        """Return False if Discord has trouble with all channels, so that the announcement is sent later."""
        try:
            channel_ids = await self._channels.of(personality)
        except DISCORD_ERRORS as error:
            log.warning("A release cannot be announced now; trying again: %s", error)
            return False
        if not channel_ids:
            return True
        announcement = await self._services.database.read(prepare_announcement, entry)
        liked: list[Effect] = []
        if isinstance(announcement, PromotionAnnouncement) and announcement.rounds:
            liked = await self._services.database.read(_what_people_like, personality.id, self._services.settings)
        compared = await self._services.database.read(find_comparison, announcement)
        news = News(personality, partial(describe_announcement, announcement, liked), compared)
        to_tell = [(channel_id, news) for channel_id in channel_ids]
        late = [one for one in to_tell if not await self._channels.tell(*one)]
        if late == to_tell:
            return False
        self._late += late
        return True


def _what_people_like(session: Session, personality_id: int, settings: Settings) -> list[Effect]:
    return likings(learn_taste(session, personality_id, settings))
