"""Checks a server's choices: missing permissions of the bot, limits of the operator, and a place to try it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

import discord

from bot.guards.permissions import (
    PERMISSION_NAMES,
    TO_ANSWER,
    TO_ANSWER_IN_FORUMS,
    TO_OPEN_THREADS,
    TO_POST,
    TO_POST_IN_THREADS,
    lacking,
)
from bot.localization.sentences import gettext
from bot.personalities.webhooks import Home
from bot.servers.draft import SetupDraft, list_mentions
from bot.servers.setups import places_around, rule_at
from storage.database.enums import Rule
from storage.servers import ServerChoices
from storage.settings.sections import Settings
from storage.wording import gettext_noop

WARNING = "⚠️"
UNPROMPTED = (Rule.QUESTION, Rule.ALWAYS)
NO_CONTENT = gettext_noop(
    "My operator has switched off the message content intent, so I only see messages that mention me or reply to me."
)

Channels = Sequence[discord.abc.GuildChannel]


def find_problems(draft: SetupDraft, settings: Settings, channels: Channels, me: discord.Member) -> list[str]:
    """Return a sentence for each obstacle that the bot, `me`, meets with these choices; `channels` are all."""
    choices = draft.choices
    return [
        *_lacking_everywhere(choices, me),
        *_lacking_in(choices, channels, me),
        *lacking_to_appear(draft, settings, channels, me),
        *_not_allowed(choices, settings, channels),
        *_unseen(choices, settings),
        *_without_members(choices, me.guild),
    ]


def lacking_to_appear(draft: SetupDraft, settings: Settings, channels: Channels, me: discord.Member) -> Iterator[str]:
    """Yield a sentence if the chosen personality has a name or picture of its own that the bot cannot show somewhere.

    Without the message content intent no personality has one, whatever the bot's permissions.
    """
    speaker = draft.speaker
    if speaker is None or not speaker.has_appearance or not settings.discord.message_content_intent:
        return
    places = [
        one.mention
        for one in channels
        if _speaks_in(one, draft, settings, me) and not one.permissions_for(me).manage_webhooks
    ]
    if places:
        yield gettext(
            "In {places} I need {permission}: without it, {personality} speaks there under my name and picture.",
            places=list_mentions(places),
            permission=gettext(PERMISSION_NAMES["manage_webhooks"]),
            personality=speaker.name,
        )


def _speaks_in(channel: discord.abc.GuildChannel, draft: SetupDraft, settings: Settings, me: discord.Member) -> bool:
    to_write = TO_POST_IN_THREADS if isinstance(channel, discord.ForumChannel) else TO_POST
    around, allowed = places_around(channel), settings.access.channels
    return (
        isinstance(channel, Home)
        and not lacking(channel, me, to_write)
        and not (allowed and set(allowed).isdisjoint(around))
        and rule_at(draft.choices, channel) is not Rule.NEVER
        and draft.known.bound.isdisjoint(around)
    )


def first_try(choices: ServerChoices, settings: Settings, channels: Channels, me: discord.Member, here: int) -> str:
    """Return the way to a first answer: in a channel where no mention is needed, or else in the channel `here`."""
    texts = [one for one in channels if isinstance(one, discord.TextChannel) and not lacking(one, me, TO_ANSWER)]
    answered = [one for one in texts if rule_at(choices, one) is not Rule.NEVER]
    if not answered:
        return gettext("There is no text channel in which I may answer yet.")
    best = min(answered, key=lambda one: (rule_at(choices, one) is not Rule.ALWAYS, one.id != here, one.position))
    needs_none = rule_at(choices, best) is Rule.ALWAYS and settings.discord.message_content_intent
    mention = "" if needs_none else f"{me.mention} "
    return gettext("Try it: write {mention}hello in {channel}.", mention=mention, channel=best.mention)


def _lacking_everywhere(choices: ServerChoices, me: discord.Member) -> Iterator[str]:
    needed = () if choices.elsewhere is Rule.NEVER else TO_ANSWER
    needed += TO_OPEN_THREADS if choices.threads_everywhere else ()
    missing = [gettext(PERMISSION_NAMES[name]) for name in needed if not getattr(me.guild_permissions, name)]
    if missing:
        yield gettext("On this server I need {permissions}: give them to my role.", permissions=", ".join(missing))


def _lacking_in(choices: ServerChoices, channels: Channels, me: discord.Member) -> Iterator[str]:
    needed = _needed(choices, channels)
    for channel in channels:
        if missing := lacking(channel, me, needed.get(channel.id, ())):
            permissions = ", ".join(missing)
            yield gettext("In {channel} I need {permissions}.", channel=channel.mention, permissions=permissions)


def _needed(choices: ServerChoices, channels: Channels) -> dict[int, list[str]]:
    """Return {id: permissions} of the channels and categories that were chosen."""
    needed: dict[int, list[str]] = defaultdict(list)
    for channel in channels:
        if choices.rules.get(channel.id, Rule.NEVER) is not Rule.NEVER:
            needed[channel.id] += TO_ANSWER_IN_FORUMS if isinstance(channel, discord.ForumChannel) else TO_ANSWER
        if channel.id in choices.thread_channels:
            needed[channel.id] += TO_OPEN_THREADS
    if choices.arena_schedule:
        needed[choices.arena_channel] += TO_POST
    needed[choices.announce_channel] += TO_POST
    return needed


def _not_allowed(choices: ServerChoices, settings: Settings, channels: Channels) -> Iterator[str]:
    allowed = settings.access.channels
    for channel in channels:
        is_chosen = choices.rules.get(channel.id, Rule.NEVER) is not Rule.NEVER
        if allowed and is_chosen and not set(allowed).intersection(places_around(channel)):
            yield gettext("My operator doesn't let me answer in {channel} (access.channels).", channel=channel.mention)


def _unseen(choices: ServerChoices, settings: Settings) -> Iterator[str]:
    answers_more = any(rule in UNPROMPTED for rule in (*choices.rules.values(), choices.elsewhere))
    if answers_more and not settings.discord.message_content_intent:
        yield gettext(NO_CONTENT)


def _without_members(choices: ServerChoices, guild: discord.Guild) -> Iterator[str]:
    if choices.roles and not any(map(guild.get_role, choices.roles)):
        yield gettext("None of the chosen roles exists any more, so only admins can use me.")
