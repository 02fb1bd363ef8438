"""Says how a personality appears in Discord, and where it cannot."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import discord

from bot.localization.sentences import gettext, ngettext
from bot.personalities.webhooks import Webhooks
from bot.text.sanitize import escape_inline
from storage.database.enums import Scope
from storage.personalities.bindings import Binding
from storage.personalities.personalities import Personality
from storage.wording import gettext_noop

SHOWN_PLACES = 5


def describe_appearance(personality: Personality) -> str:
    """Return what people see above its messages, to follow "It appears"."""
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
