"""Tells a member, once, what is kept when they talk to the bot."""

from __future__ import annotations

import logging

import discord

from bot.privacy.buttons import PrivacyAction, buttons
from bot.privacy.texts import first_notice
from bot.services import Services
from storage.members.memberships import greet, take_back_greeting

log = logging.getLogger(__name__)


async def greet_once(services: Services, message: discord.Message) -> None:
    """Send the notice below the member's first message; outside Discord there is nothing to tell."""
    member = message.author.id
    if services.fixed_basis is not None or not await services.database.run(greet, member):
        return
    privacy = services.settings.privacy
    acts = (PrivacyAction.SHOW, PrivacyAction.ALLOW) if privacy.discord_training_permission else (PrivacyAction.SHOW,)
    try:
        await message.channel.send(first_notice(privacy), view=buttons(*acts), silent=True)
    except discord.HTTPException as error:
        log.warning("Discord did not take the first notice to %d (%s); their next message brings it.", member, error)
        await services.database.run(take_back_greeting, member)
