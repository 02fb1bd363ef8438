"""Which personality answers in a channel, and which one a command is about."""

from __future__ import annotations

import discord
from discord import app_commands

from bot.errors import UserFacingError
from bot.guards.access import has_named_role, is_admin
from bot.services import Services, services_of
from storage.database.enums import Scope
from storage.personalities.bindings import ActivePersonality, BindingPlace, active_personality_at
from storage.personalities.personalities import Personality, list_personalities, personality_named

CHOICES = 25  # Discord's limit
WHOSE = "A personality; without it, the one that answers here"


def places_of(channel: object) -> list[BindingPlace]:
    """Return the places, most specific first, whose bindings decide about a channel.

    There are none for direct messages, nor for a channel that the bot cannot see.
    """
    if isinstance(channel, discord.Thread):
        return [
            BindingPlace(Scope.THREAD, channel.id),
            BindingPlace(Scope.CHANNEL, channel.parent_id),
            *_around(channel.parent or channel),
        ]
    if isinstance(channel, discord.abc.GuildChannel):
        own = Scope.CATEGORY if isinstance(channel, discord.CategoryChannel) else Scope.CHANNEL
        return [BindingPlace(own, channel.id), *_around(channel)]
    return []


def _around(channel: discord.abc.GuildChannel | discord.Thread) -> list[BindingPlace]:
    category_id = channel.category_id if isinstance(channel, discord.abc.GuildChannel) else None
    category = [BindingPlace(Scope.CATEGORY, category_id)] if category_id else []
    return [*category, BindingPlace(Scope.SERVER, channel.guild.id)]


async def active_personality(services: Services, channel: object) -> ActivePersonality:
    """Return the personality that answers in the channel now."""
    return await services.database.read(active_personality_at, places_of(channel))


async def chosen_personality(services: Services, interaction: discord.Interaction, name: str | None) -> Personality:
    """Return the named personality, or the one that answers in the command's channel.

    Raises PersonalityNotFound if the server has no personality of that name.
    """
    if name is None:
        return (await active_personality(services, interaction.channel)).personality
    return await services.database.read(personality_named, name, interaction.guild_id)


async def administered_personality(
    services: Services, interaction: discord.Interaction, name: str | None
) -> Personality:
    """Like `chosen_personality`, but raises UserFacingError unless the admin may administer it."""
    whose = await chosen_personality(services, interaction, name)
    if not may_administer(services, interaction.user, whose):
        raise UserFacingError(
            f"{whose.name} answers in other servers too, so Manage Server here is not enough: you need a role that the "
            "operator listed in discord.admin_roles. The operator can also use `reactune model`."
        )
    return whose


def may_administer(services: Services, user: discord.User | discord.Member, whose: Personality) -> bool:
    """Return whether the personality is used only in the admin's server, or the operator listed their role."""
    shared = whose.guild_id is None and services.access.serves_several_servers()
    return not shared or has_named_role(user, services.settings.discord)


def require_own(services: Services, interaction: discord.Interaction, personality: Personality) -> None:
    """Raise UserFacingError unless the server may change the personality.

    It may change its own; the operator's only if the bot serves no other server, which would be affected.
    """
    if personality.guild_id is None and services.access.serves_several_servers():
        raise UserFacingError(
            f"{personality.name} belongs to the operator and is used in other servers too, so only its file can change "
            "it. For a copy, use `/personality export`, then `/personality import` with another name."
        )
    if personality.guild_id not in (None, interaction.guild_id):
        raise UserFacingError(f"{personality.name} belongs to another server.")


async def offer_personalities(interaction: discord.Interaction, current: str) -> list[app_commands.Choice[str]]:
    """Return the personalities that match what an admin has typed so far."""
    services = services_of(interaction)
    if not is_admin(interaction.user, services.settings.discord):
        return []
    known = await services.database.read(list_personalities, interaction.guild_id)
    return offer([personality.name for personality in known], current)


def offer(names: list[str], current: str) -> list[app_commands.Choice[str]]:
    """Return the names that contain the typed text; none if it is a complete name.

    While Discord offers a choice, Enter picks it instead of sending the command.
    """
    typed = current.lower()
    if typed in names:
        return []
    return [app_commands.Choice(name=name, value=name) for name in names if typed in name][:CHOICES]


def signed(personality: Personality, text: str) -> str:
    """Return the text with the personality's name above it, unless it is the default one."""
    return text if personality.is_default else f"-# personality **{personality.name}**\n{text}"
