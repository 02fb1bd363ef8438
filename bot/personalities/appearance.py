"""Says how a personality appears in Discord, and where it cannot."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import discord

from bot.personalities.webhooks import Webhooks
from bot.text.sanitize import escape_inline
from storage.database.enums import Scope
from storage.personalities.bindings import Binding
from storage.personalities.personalities import Personality

SHOWN_PLACES = 5


def describe_appearance(personality: Personality) -> str:
    """Return what people see above its messages, to follow "It appears"."""
    name = personality.card.display_name or ("" if personality.is_default else personality.name)
    called = f"as **{escape_inline(name)}**" if name else "with the bot's name"
    if not personality.has_appearance:
        return "as the bot itself"
    return f"{called}, with {'a picture of its own' if personality.picture_digest else 'the picture of the bot'}"


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
            places[remedy].append("the whole server" if binding.scope is Scope.SERVER else f"<#{binding.place_id}>")
    if personality.is_default and (remedy := webhooks.why_not(guild)):
        places[remedy].append("the server")
    return [
        f"⚠️ In {_some(found)} it speaks as the bot itself. To change that, {remedy}."
        for remedy, found in places.items()
    ]


def _place_of(guild: discord.Guild, binding: Binding) -> object:
    """Return the channel, thread, category or server; None if the bot cannot see it now, or it is in another server."""
    if binding.guild_id != guild.id:
        return None
    return guild if binding.scope is Scope.SERVER else guild.get_channel_or_thread(binding.place_id)


def _some(places: list[str]) -> str:
    more = len(places) - SHOWN_PLACES
    return ", ".join([*places[:SHOWN_PLACES], *([f"{more} more places"] if more > 0 else [])])
