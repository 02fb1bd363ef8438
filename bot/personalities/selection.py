"""Resolves and autocompletes the names of personalities and versions, and says who may change them."""

from __future__ import annotations

from collections.abc import Callable, Collection

import discord
from discord import app_commands
from sqlalchemy.orm import Session

from bot.errors import UserFacingError
from bot.guards.access import has_named_role, is_admin
from bot.localization.sentences import gettext
from bot.personalities.binding import places_of
from bot.services import Services, services_of
from storage.errors import PersonalityNotFound
from storage.personalities.bindings import ActivePersonality, active_personality_at
from storage.personalities.personalities import Personality, list_personalities, personality_named, read_personality
from storage.releases.versions import Version, list_versions, usable_versions
from storage.wording import BASE_NAME, gettext_noop

CHOICES = 25  # Discord's limit
WHOSE = gettext_noop("A personality; without it, the one that answers here")
VERSION_OR_BASE = gettext_noop("A version such as v3, or base")
REASON = gettext_noop("Why; stored in the audit trail")


async def active_personality(services: Services, channel: object) -> ActivePersonality:
    return await services.database.read(active_personality_at, places_of(channel))


async def chosen_personality(services: Services, interaction: discord.Interaction, name: str | None) -> Personality:
    """Return the named personality, or the one that answers in the command's channel.

    Raises PersonalityNotFound if the server has no personality of that name; direct messages know the operator's.
    """
    if name is None:
        return (await active_personality(services, interaction.channel)).personality
    return await services.database.read(personality_named, name, interaction.guild_id or 0)


async def administered_personality(
    services: Services, interaction: discord.Interaction, name: str | None
) -> Personality:
    """Like `chosen_personality`, but raises UserFacingError unless the admin may administer it."""
    whose = await chosen_personality(services, interaction, name)
    require_administrator(services, interaction.user, whose)
    return whose


def require_administrator(services: Services, user: discord.User | discord.Member, whose: Personality) -> None:
    """Raise UserFacingError unless the admin may administer the personality."""
    if refusal := why_not_administrator(services, user, whose):
        raise refusal


def may_administer(services: Services, user: discord.User | discord.Member, whose: Personality) -> bool:
    return why_not_administrator(services, user, whose) is None


async def chooses_as_admin(services: Services, user: discord.User | discord.Member, personality_id: int) -> bool:
    """Return whether a person's opinion of the personality's answers is an admin's verdict on it."""
    if not is_admin(user, services.settings.discord):
        return False
    return may_administer(services, user, await services.database.read(read_personality, personality_id))


def why_not_administrator(
    services: Services, user: discord.User | discord.Member, whose: Personality
) -> UserFacingError | None:
    """Return the reason why the admin may not administer the personality; None if they may.

    They may if it is used only in their server, or if the operator listed their role.
    """
    shared = whose.guild_id is None and services.access.serves_several_servers()
    if not shared or has_named_role(user, services.settings.discord):
        return None
    return UserFacingError(
        "**{name}** answers in other servers too, so Manage Server is not enough: you need a role that the operator "
        "listed in `discord.admin_roles`.",
        name=whose.name,
    )


def require_own(services: Services, personality: Personality, servers: Collection[int] | None) -> None:
    """Raise UserFacingError unless an admin of these servers may change the personality; None is the operator."""
    if refusal := why_not_own(services, personality, servers):
        raise refusal


def why_not_own(
    services: Services, personality: Personality, servers: Collection[int] | None
) -> UserFacingError | None:
    """Return the reason why an admin of these servers may not change the personality; None if they may.

    They may change their servers' own; the operator's only if the bot serves no other server, which would be affected.
    """
    if servers is None:
        return None
    if personality.guild_id is None and services.access.serves_several_servers():
        return UserFacingError(
            "{name} belongs to the operator and is used in other servers too, so you can't change it. To change a "
            "copy, export its card and import it under another name.",
            name=personality.name,
        )
    if personality.guild_id is not None and personality.guild_id not in servers:
        return UserFacingError("{name} belongs to another server.", name=personality.name)
    return None


async def offer_personalities(interaction: discord.Interaction, current: str) -> list[app_commands.Choice[str]]:
    """Return the personalities that match what an admin has typed so far."""
    services = services_of(interaction)
    if not is_admin(interaction.user, services.settings.discord):
        return []
    known = await services.database.read(list_personalities, interaction.guild_id or 0)
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
    above = gettext("personality **{name}**", name=personality.name)
    return text if personality.is_default else f"-# {above}\n{text}"


async def offer_versions(interaction: discord.Interaction, current: str) -> list[app_commands.Choice[str]]:
    return await _offer_versions(interaction, current, list_versions)


async def offer_usable_versions(interaction: discord.Interaction, current: str) -> list[app_commands.Choice[str]]:
    return await _offer_versions(interaction, current, usable_versions)


async def _offer_versions(
    interaction: discord.Interaction, current: str, listed: Callable[[Session, int], list[Version]]
) -> list[app_commands.Choice[str]]:
    services = services_of(interaction)
    if not is_admin(interaction.user, services.settings.discord):
        return []
    try:
        whose = await chosen_personality(services, interaction, interaction.namespace.personality)
    except PersonalityNotFound:
        return []  # the admin is still typing its name
    versions = await services.database.read(listed, whose.id)
    return offer([version.name for version in versions] + [BASE_NAME], current)
