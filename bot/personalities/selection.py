"""Resolves and autocompletes personality and version names, and describes them."""

from __future__ import annotations

from collections.abc import Collection

import discord
from discord import app_commands
from sqlalchemy.orm import Session

from bot.errors import UserFacingError
from bot.guards.access import has_named_role, is_admin
from bot.localization.sentences import gettext, ngettext
from bot.personalities.appearance import describe_appearance
from bot.services import Services, services_of
from bot.text.sanitize import escape_inline
from storage.adapters.folder_store import AS_TRAINED
from storage.database.enums import Scope
from storage.errors import PersonalityNotFound
from storage.insights.answering_now import AnsweringNow, read_answering_now
from storage.personalities.bindings import (
    ActivePersonality,
    Binding,
    BindingPlace,
    active_personality_at,
    list_bindings,
)
from storage.personalities.cards import CardSampling
from storage.personalities.personalities import Personality, list_personalities, personality_named, read_personality
from storage.personalities.shown_examples import examples_to_show
from storage.releases.versions import list_versions, name_of
from storage.settings.sections import Settings
from storage.wording import BASE_NAME, gettext_noop

CHOICES = 25  # Discord's limit
WHOSE = gettext_noop("A personality; without it, the one that answers here")

SHOWN_EXAMPLES = 3
NEXT_STEP = gettext_noop(
    "Next, use `/personality bind {name}` to let it answer somewhere, or `/model train personality:{name} "
    "learn_from:examples` to train its first version."
)

VERSION = gettext_noop("A version such as v3")
VERSION_OR_BASE = gettext_noop("A version such as v3, or base")
REASON = gettext_noop("Why; stored in the audit trail")


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
    require_administrator(services, interaction.user, whose)
    return whose


def require_administrator(services: Services, user: discord.User | discord.Member, whose: Personality) -> None:
    """Raise UserFacingError unless the admin may administer the personality."""
    if refusal := why_not_administrator(services, user, whose):
        raise refusal


def may_administer(services: Services, user: discord.User | discord.Member, whose: Personality) -> bool:
    return why_not_administrator(services, user, whose) is None


async def chooses_as_admin(services: Services, user: discord.User | discord.Member, personality_id: int) -> bool:
    """Return whether what somebody says about the personality's answers is an admin's verdict on it."""
    if not is_admin(user, services.settings.discord):
        return False
    return may_administer(services, user, await services.database.read(read_personality, personality_id))


def why_not_administrator(
    services: Services, user: discord.User | discord.Member, whose: Personality
) -> UserFacingError | None:
    """Return why the admin may not administer the personality; None if they may.

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
    """Raise UserFacingError unless whoever administers these servers may change the personality; None: the operator."""
    if refusal := why_not_own(services, personality, servers):
        raise refusal


def why_not_own(
    services: Services, personality: Personality, servers: Collection[int] | None
) -> UserFacingError | None:
    """Return why whoever administers these servers may not change the personality; None if they may.

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
    above = gettext("personality **{name}**", name=personality.name)
    return text if personality.is_default else f"-# {above}\n{text}"


def format_sampling(sampling: CardSampling) -> str:
    own = sampling.model_dump(exclude_none=True)
    return ", ".join(f"{name} = {value}" for name, value in own.items())


def describe_change(name: str, *, changed: bool) -> str:
    if not changed:
        return gettext("Nothing changed: the card of **{name}** already says that.", name=name)
    return gettext(
        "Changed the card of **{name}**. The next answer uses it; the old card is kept in the database.", name=name
    )


def describe_binding(personality: Personality, place: BindingPlace, strength: float, replaced: str) -> str:
    where = _at_strength(describe_place(place), strength)
    return " ".join(
        [
            gettext("**{name}** answers {where} from the next message on.", name=personality.name, where=where),
            *([gettext("It replaces {other}.", other=replaced)] if replaced else []),
            gettext("To undo this, use `/personality unbind`."),
        ]
    )


def describe_replaced(session: Session, before: Binding | None) -> str:
    """Return the personality that was bound before and its strength, or an empty text."""
    if before is None:
        return ""
    return _at_strength(read_personality(session, before.personality_id).name, before.strength)


def list_lines(session: Session, guild_id: int, settings: Settings) -> list[str]:
    """Return a line for each personality that the server can use."""
    lines = []
    for personality in list_personalities(session, guild_id):
        about = f" · {escape_inline(personality.card.description)}" if personality.card.description else ""
        version = _describe_version(read_answering_now(session, personality.id, settings))
        examples = ngettext("{count} example", "{count} examples", len(personality.card.examples))
        bound = _describe_bindings(session, personality, guild_id)
        lines.append(f"**{personality.name}**{about} · {version} · {examples} · {bound}")
    return lines


def card_lines(session: Session, personality: Personality, guild_id: int, settings: Settings) -> list[str]:
    card, now = personality.card, read_answering_now(session, personality.id, settings)
    shown = () if now.champion else examples_to_show(settings, card)
    bound = _describe_bindings(session, personality, guild_id)
    number = gettext("**Examples:** {number}", number=len(card.examples))
    used = gettext("the base is shown {number} of them", number=len(shown))
    examples = [map(escape_inline, example.dialogue[:2]) for example in card.examples[:SHOWN_EXAMPLES]]
    lines = [
        f"**{personality.name}** · {_describe_version(now)}",
        escape_inline(card.description),
        f"⚠️ {gettext('It is archived.')}" if personality.archived_at else "",
        f"{bound[0].upper()}{bound[1:]}.",
        gettext("**Appears** {how}", how=describe_appearance(personality)),
        f"{gettext('**System prompt:**')} {escape_inline(card.system_prompt) or gettext('the one in the settings')}",
        f"{gettext('**Greeting:**')} {escape_inline(card.greeting)}" if card.greeting else "",
        f"{gettext('**Sampling:**')} {format_sampling(card.sampling) or gettext('as in the settings')}",
        f"{number}, {used}" if shown else number,
        *(f"> {asked}\n{answered}" for asked, answered in examples),
    ]
    return [line for line in lines if line]


def _describe_bindings(session: Session, personality: Personality, guild_id: int) -> str:
    bindings = list_bindings(session, guild_id=guild_id, personality_id=personality.id)
    places = [
        _at_strength(describe_place(BindingPlace(binding.scope, binding.place_id)), binding.strength)
        for binding in bindings
    ]
    if places:
        return gettext("bound {places}", places=", ".join(places))
    return (
        gettext("answers wherever no other is bound") if personality.is_default else gettext("not bound to any channel")
    )


def _describe_version(now: AnsweringNow) -> str:
    """Return the version that answers; of the base, also what it has learned."""
    name = gettext("version {version}", version=name_of(now.champion))
    return f"{name} ({gettext(now.about_base)})" if now.about_base else name


def describe_place(place: BindingPlace) -> str:
    if place.scope is Scope.SERVER:
        return gettext("in the whole server")
    return gettext("in {places}", places=f"<#{place.id}>")


def _at_strength(what: str, strength: float) -> str:
    return what if strength == AS_TRAINED else gettext("{what} at strength {strength}", what=what, strength=strength)


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
