"""Who speaks at a place on Discord, and whose versions a command is about."""

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
WHOSE = "Whose; without it, of the personality that speaks here"


def places_of(channel: object) -> list[BindingPlace]:
    """Return the nested places of a channel that personalities are bound to, the most specific first.

    Direct messages are none, and of a channel that the bot cannot see nothing is known.
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
    """Return who speaks in the channel now."""
    return await services.database.read(active_personality_at, places_of(channel))


async def chosen_personality(services: Services, interaction: discord.Interaction, name: str | None) -> Personality:
    """Return the personality of that name, or the one that speaks where the command is given.

    Raises PersonalityNotFound on a name that the server does not know.
    """
    if name is None:
        return (await active_personality(services, interaction.channel)).personality
    return await services.database.read(personality_named, name, interaction.guild_id)


async def administered_personality(
    services: Services, interaction: discord.Interaction, name: str | None
) -> Personality:
    """Return `chosen_personality`; raises UserFacingError unless the admin may decide which version of it answers."""
    whose = await chosen_personality(services, interaction, name)
    if not may_administer(services, interaction.user, whose):
        raise UserFacingError(
            f"{whose.name} answers in other servers too, so Manage Server here is not enough: it needs a role that the "
            "operator named in discord.admin_roles, or `reactune model` on the command line."
        )
    return whose


def may_administer(services: Services, user: discord.User | discord.Member, whose: Personality) -> bool:
    """Return whether an admin's decision concerns their own server alone, or the operator named them."""
    shared = whose.guild_id is None and services.access.serves_several_servers()
    return not shared or has_named_role(user, services.settings.discord)


async def offer_personalities(interaction: discord.Interaction, current: str) -> list[app_commands.Choice[str]]:
    """Return the personalities to choose from while somebody types."""
    services = services_of(interaction)
    if not is_admin(interaction.user, services.settings.discord):
        return []
    known = await services.database.read(list_personalities, interaction.guild_id)
    return offer([personality.name for personality in known], current)


def offer(names: list[str], current: str) -> list[app_commands.Choice[str]]:
    """Return the names that hold what was typed so far, unless it is one of them.

    With a choice on offer, Enter would take it instead of sending the command.
    """
    typed = current.lower()
    if typed in names:
        return []
    return [app_commands.Choice(name=name, value=name) for name in names if typed in name][:CHOICES]


def signed(personality: Personality, text: str) -> str:
    """Return the text under the personality's name, which its commands need; nothing is added for the default one."""
    return text if personality.is_default else f"-# personality **{personality.name}**\n{text}"
