"""Sends the privacy notice with a member's first message."""

from __future__ import annotations

import logging

import discord

from bot.privacy.buttons import PrivacyAction, buttons
from bot.privacy.texts import first_notice
from bot.services import Services
from storage.members.memberships import greet, take_back_greeting

log = logging.getLogger(__name__)


async def send_first_notice(services: Services, message: discord.Message) -> None:
    """Send the notice below the message, unless the member has it already; outside Discord there is none."""
    member, privacy = message.author.id, services.settings.privacy
    if services.fixed_basis is not None or not await services.database.run(greet, member):
        return
    can_allow = privacy.discord_training_permission
    actions = (PrivacyAction.SHOW, PrivacyAction.ALLOW) if can_allow else (PrivacyAction.SHOW,)
    try:
        await message.channel.send(first_notice(privacy), view=buttons(*actions), silent=True)
    except discord.HTTPException as error:
        log.warning("Discord refused the privacy notice to %d (%s); their next message brings it.", member, error)
        await services.database.run(take_back_greeting, member)
