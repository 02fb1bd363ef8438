"""The greeting of a personality that was bound to a channel."""

from __future__ import annotations

import logging

import discord

from bot.discord_errors import DISCORD_ERRORS
from bot.services import Services
from bot.text.sanitize import sanitize_markdown
from bot.text.splitting import split_message
from storage.database.enums import Scope
from storage.personalities.bindings import BindingPlace
from storage.personalities.personalities import Personality

log = logging.getLogger(__name__)


async def post_greeting(services: Services, personality: Personality, channel: object, where: BindingPlace) -> None:
    """Post the greeting in a channel or thread; a category or a whole server gets none."""
    if not personality.card.greeting or where.scope not in (Scope.CHANNEL, Scope.THREAD):
        return
    if isinstance(channel, discord.abc.Messageable) and isinstance(channel, discord.abc.GuildChannel | discord.Thread):
        try:
            guise = await services.webhooks.guise_of(personality, channel.guild.id, where.id)
            for part in split_message(sanitize_markdown(personality.card.greeting, services.settings.output)):
                await (guise or channel).send(part)
        except DISCORD_ERRORS as error:
            log.warning("Could not post the greeting of %s: %s", personality.name, error)
