"""The channels that hear of a personality's releases, and how news are posted there."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import discord
from discord.ext import commands
from sqlalchemy.orm import Session

from bot.discord_errors import DISCORD_ERRORS, is_temporary
from bot.localization.languages import languages_of
from bot.localization.sentences import speaking
from bot.personalities.selection import signed
from bot.services import Services
from bot.text.releases import before_after_embeds
from bot.text.splitting import MAX_MESSAGE_CHARS
from storage.personalities.bindings import speaks_in
from storage.personalities.personalities import Personality
from storage.releases.before_after import BeforeAfter
from storage.servers import ServerSetup

log = logging.getLogger(__name__)

CHOSEN_IN = "/setup, or release.announce_channel"


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
    """What a personality's people are told; the words are found in the language of each channel."""

    personality: Personality
    describe: Callable[[], str]
    compared: BeforeAfter | None
    """Answers to show below."""


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
                    "choose another channel in %s.",
                    channel_id,
                    error,
                    CHOSEN_IN,
                )
            self._closed.add(channel_id)
        return True

    async def of(self, personality: Personality) -> list[int]:
        """Return the channels that servers chose for news, and the operator's unless its server chose another."""
        chosen = await self._services.database.read(_chosen_channels, self._services.setups.all(), personality)
        default = self._services.settings.release.announce_channel
        return [*chosen, default] if default and await self.concerns(default, personality) else chosen

    async def concerns(self, channel_id: int, personality: Personality) -> bool:
        """Return whether the operator's channel is to hear of it: not of another server's own personality."""
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
