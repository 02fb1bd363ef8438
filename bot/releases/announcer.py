"""Announces releases in the channels that hear of a personality's news."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial

import discord
from discord.ext import commands
from sqlalchemy.orm import Session

from bot.discord_errors import DISCORD_ERRORS, is_temporary
from bot.guards.access import is_quiet
from bot.localization.languages import languages_of
from bot.localization.sentences import speaking
from bot.personalities.selection import signed
from bot.releases.watcher import ReleaseState
from bot.services import Services
from bot.text.releases import before_after_embeds, describe_announcement
from bot.text.splitting import MAX_MESSAGE_CHARS
from storage.database.columns import utc_now
from storage.operations.outbox import announce_waiting
from storage.personalities.bindings import speaks_in
from storage.personalities.personalities import Personality, list_personalities
from storage.releases.announcements import (
    Announceable,
    PromotionAnnouncement,
    find_comparison,
    prepare_announcement,
    unannounced,
)
from storage.releases.before_after import BeforeAfter
from storage.servers import ServerSetup
from storage.taste.learning import learn_taste
from storage.taste.likings import Effect, likings

log = logging.getLogger(__name__)


async def send_with(embeds: Sequence[discord.Embed], send: Callable[..., Awaitable[object]], text: str) -> None:
    """Send the text with embeds, or alone where the bot lacks *Embed Links*; `send` may edit a message."""
    try:
        await send(content=text, embeds=embeds)
    except discord.Forbidden:
        if not embeds:
            raise
        await send(content=text)


@dataclass(frozen=True)
class News:
    """News for a personality's people; the words are chosen in the language of each channel."""

    personality: Personality
    describe: Callable[[], str]
    compared: BeforeAfter | None


class NewsChannels:
    def __init__(self, bot: commands.AutoShardedBot, services: Services) -> None:
        self._bot = bot
        self._services = services
        self._closed: set[int] = set()
        """Channels that the log has named because the bot may not write there."""

    async def tell(self, channel_id: int, news: News) -> bool:
        """Return False if Discord has trouble, so that it may go well later."""
        with speaking(languages_of(self._bot).of_channel(channel_id)):
            text = signed(news.personality, news.describe())[:MAX_MESSAGE_CHARS]
            embeds = before_after_embeds(news.compared)
        try:
            await send_with(embeds, self._bot.get_partial_messageable(channel_id).send, text)
        except DISCORD_ERRORS as error:
            if is_temporary(error):
                log.warning("A release cannot be announced now; trying again: %s", error)
                return False
            if channel_id not in self._closed:
                log.error(
                    "Releases cannot be announced in channel %d (%s): let the bot see it and send messages there, or "
                    "choose another channel in /setup, or release.announce_channel.",
                    channel_id,
                    error,
                )
            self._closed.add(channel_id)
        return True

    async def of(self, personality: Personality) -> list[int]:
        """Return the channels that servers chose for news, and the operator's unless its server chose another."""
        chosen = await self._services.database.read(_chosen_channels, self._services.setups.all(), personality)
        default = self._services.settings.release.announce_channel
        return [*chosen, default] if default and await self.concerns(default, personality) else chosen

    async def concerns(self, channel_id: int, personality: Personality) -> bool:
        """Return whether the operator's channel gets the news: not of another server's own personality."""
        # Another process may serve the channel's server, so it may not be in the cache.
        try:
            channel = self._bot.get_channel(channel_id) or await self._bot.fetch_channel(channel_id)
        except DISCORD_ERRORS as error:
            if is_temporary(error):
                raise
            return True  # the attempt to write there says what is wrong
        guild = getattr(channel, "guild", None)
        if guild is None:
            return personality.guild_id is None
        return self._services.setups.find(guild.id) is None and personality.guild_id in (None, guild.id)


def _chosen_channels(session: Session, setups: Sequence[ServerSetup], personality: Personality) -> list[int]:
    """Return the channels that those servers chose in which the personality answers."""
    return [
        setup.choices.announce_channel
        for setup in setups
        if setup.choices.announce_channel and speaks_in(session, personality, setup.guild_id)
    ]


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
            taste = await self._services.database.read(learn_taste, personality.id, self._services.settings)
            liked = await asyncio.to_thread(likings, taste)
        compared = await self._services.database.read(find_comparison, announcement)
        news = News(personality, partial(describe_announcement, announcement, liked), compared)
        to_tell = [(channel_id, news) for channel_id in channel_ids]
        late = [one for one in to_tell if not await self._channels.tell(*one)]
        if late == to_tell:
            return False
        self._late += late
        return True
