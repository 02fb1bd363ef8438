"""Options of commands about versions, and the versions that Discord offers while an admin types."""

from __future__ import annotations

import discord
from discord import app_commands

from bot.guards.access import is_admin
from bot.personalities.selection import chosen_personality, offer
from bot.services import services_of
from storage.errors import PersonalityNotFound
from storage.releases.versions import list_versions
from storage.wording import BASE_NAME

VERSION = "A version such as v3"
VERSION_OR_BASE = "A version such as v3, or base"
REASON = "Why; stored in the audit trail"


async def offer_versions(interaction: discord.Interaction, current: str) -> list[app_commands.Choice[str]]:
    services = services_of(interaction)
    if not is_admin(interaction.user, services.settings.discord):
        return []
    try:
        whose = await chosen_personality(services, interaction, interaction.namespace.personality)
    except PersonalityNotFound:
        return []  # the admin is still typing its name
    versions = await services.database.read(list_versions, whose.id)
    return offer([version.name for version in versions] + [BASE_NAME], current)
