"""The line with which the bot introduces itself to a new server."""

from __future__ import annotations

import logging

import discord

from bot.discord_errors import DISCORD_ERRORS
from bot.localization.sentences import gettext
from bot.servers.permissions import TO_POST, lacking
from storage.wording import gettext_noop

log = logging.getLogger(__name__)

WELCOME = gettext_noop(
    "Hi! An admin can set me up with `/setup`: where I answer, who can use me, and which personality I use."
)


async def introduce(guild: discord.Guild) -> None:
    """Say in the server's channel for news, or else in the first that is open, how to set the bot up."""
    candidates = [guild.system_channel, *sorted(guild.text_channels, key=lambda channel: channel.position)]
    channel = next((one for one in candidates if one and not lacking(one, guild.me, TO_POST)), None)
    if channel is None:
        return
    try:
        await channel.send(gettext(WELCOME), silent=True)
    except DISCORD_ERRORS as error:
        log.warning("Discord refused the first message in server %d: %s", guild.id, error)
