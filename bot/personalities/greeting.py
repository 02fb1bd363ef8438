"""The greeting of a personality that was bound to a channel."""

from __future__ import annotations

import logging

import discord

from bot.discord_errors import DISCORD_ERRORS
from bot.text.sanitize import sanitize_markdown
from bot.text.splitting import split_message
from storage.database.enums import Scope
from storage.personalities.bindings import BindingPlace
from storage.personalities.personalities import Personality
from storage.settings.sections import OutputSettings

log = logging.getLogger(__name__)


async def post_greeting(personality: Personality, channel: object, where: BindingPlace, output: OutputSettings) -> None:
    """Post the greeting in a channel or thread; a category or a whole server gets none."""
    if not personality.card.greeting or where.scope not in (Scope.CHANNEL, Scope.THREAD):
        return
    if isinstance(channel, discord.abc.Messageable):
        try:
            for part in split_message(sanitize_markdown(personality.card.greeting, output)):
                await channel.send(part)
        except DISCORD_ERRORS as error:
            log.warning("Could not post the greeting of %s: %s", personality.name, error)
