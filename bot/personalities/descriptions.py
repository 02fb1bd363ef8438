"""Describes personalities: cards, versions, places, and appearance in Discord."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import discord
from sqlalchemy.orm import Session

from bot.localization.sentences import gettext, ngettext
from bot.personalities.binding import at_strength, describe_place
from bot.personalities.webhooks import Webhooks
from bot.text.sanitize import escape_inline
from storage.database.enums import Scope
from storage.insights.taste_report import AnsweringNow, read_answering_now
from storage.personalities.bindings import Binding, BindingPlace, list_bindings
from storage.personalities.cards import CardSampling
from storage.personalities.personalities import Personality
from storage.releases.versions import name_of
from storage.settings.sections import Settings
from storage.taste.examples import examples_to_show
from storage.wording import gettext_noop

SHOWN_PLACES = 5
SHOWN_EXAMPLES = 3
NEXT_STEP = gettext_noop(
    "Next, use `/personality bind {name}` to let it answer somewhere, or `/version train personality:{name} "
    "learn_from:examples` to train its first version."
)


def describe_appearance(personality: Personality) -> str:
    """Return the name and picture above a personality's messages, to follow "It appears"."""
    if not personality.has_appearance:
        return gettext("as the bot itself")
    name = personality.shown_name
    called = gettext("as **{name}**", name=escape_inline(name)) if name else gettext("with the bot's name")
    own = personality.picture_digest is not None
    return f"{called}, {gettext('with a picture of its own') if own else gettext('with the picture of the bot')}"


def describe_obstacles(
    webhooks: Webhooks, guild: discord.Guild | None, personality: Personality, bindings: Iterable[Binding]
) -> list[str]:
    """Return a sentence for each reason why it speaks as the bot itself in some of the places where it is bound."""
    if guild is None or not personality.has_appearance:
        return []
    places = defaultdict[str, list[str]](list)
    for binding in bindings:
        place = _place_of(guild, binding)
        if place is not None and (remedy := webhooks.why_not(place)):
            places[remedy].append(
                gettext("the whole server") if binding.scope is Scope.SERVER else f"<#{binding.place_id}>"
            )
    if personality.is_default and (remedy := webhooks.why_not(guild)):
        places[remedy].append(gettext("the server"))
    sentence = gettext_noop("In {places} it speaks as the bot itself. To change that, {remedy}.")
    return [f"⚠️ {gettext(sentence, places=_some(found), remedy=gettext(remedy))}" for remedy, found in places.items()]


def _place_of(guild: discord.Guild, binding: Binding) -> object:
    """Return the channel, thread, category or server; None if the bot cannot see it now, or it is in another server."""
    if binding.guild_id != guild.id:
        return None
    return guild if binding.scope is Scope.SERVER else guild.get_channel_or_thread(binding.place_id)


def _some(places: list[str]) -> str:
    more = len(places) - SHOWN_PLACES
    rest = [ngettext("{count} more place", "{count} more places", more)] if more > 0 else []
    return ", ".join([*places[:SHOWN_PLACES], *rest])


def format_sampling(sampling: CardSampling) -> str:
    own = sampling.model_dump(exclude_none=True)
    return ", ".join(f"{name} = {value}" for name, value in own.items())


def describe_change(name: str, *, changed: bool) -> str:
    if not changed:
        return gettext("Nothing changed: the card of **{name}** already says that.", name=name)
    return gettext(
        "Changed the card of **{name}**. The next answer uses it; the old card is kept in the database.", name=name
    )


def list_lines(session: Session, personalities: Iterable[Personality], guild_id: int, settings: Settings) -> list[str]:
    """Return a line for each personality, with its places in the server."""
    lines = []
    for personality in personalities:
        version = _describe_version(read_answering_now(session, personality.id, settings))
        examples = ngettext("{count} example", "{count} examples", len(personality.card.examples))
        bound = _describe_bindings(session, personality, guild_id, is_short=True)
        state = gettext("archived") if personality.archived_at else bound
        lines.append(f"**{personality.name}** · {version} · {examples} · {state}")
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


def _describe_bindings(session: Session, personality: Personality, guild_id: int, *, is_short: bool = False) -> str:
    bindings = list_bindings(session, guild_id=guild_id, personality_id=personality.id)
    places = [
        at_strength(describe_place(BindingPlace(binding.scope, binding.place_id)), binding.strength)
        for binding in bindings
    ]
    if places:
        return gettext("bound {places}", places=_some(places) if is_short else ", ".join(places))
    return gettext("answers everywhere else") if personality.is_default else gettext("not bound to any channel")


def _describe_version(now: AnsweringNow) -> str:
    """Return the version that answers; for the base, also its lessons."""
    name = gettext("version {version}", version=name_of(now.champion))
    return f"{name} ({gettext(now.about_base)})" if now.about_base else name
