"""Permissions in a channel: those that the bot needs, as Discord names them, and whether a member can read there."""

from __future__ import annotations

from collections.abc import Iterable

import discord

from bot.localization.sentences import gettext
from storage.wording import gettext_noop

PERMISSION_NAMES = {
    "view_channel": gettext_noop("View Channel"),
    "send_messages": gettext_noop("Send Messages"),
    "send_messages_in_threads": gettext_noop("Send Messages in Threads"),
    "create_public_threads": gettext_noop("Create Public Threads"),
    "read_message_history": gettext_noop("Read Message History"),
    "add_reactions": gettext_noop("Add Reactions"),
    "manage_webhooks": gettext_noop("Manage Webhooks"),
}
TO_ANSWER = ("view_channel", "send_messages", "read_message_history", "add_reactions")
TO_ANSWER_IN_FORUMS = ("view_channel", "send_messages_in_threads", "read_message_history", "add_reactions")
TO_OPEN_THREADS = ("create_public_threads", "send_messages_in_threads")
TO_POST = ("view_channel", "send_messages")
TO_POST_IN_THREADS = ("view_channel", "send_messages_in_threads")
CALLS = (discord.VoiceChannel, discord.StageChannel)


def lacking(channel: discord.abc.GuildChannel | discord.Thread, me: discord.Member, needed: Iterable[str]) -> list[str]:
    """Return the names of those of the needed permissions that the bot, `me`, lacks in the channel."""
    granted = channel.permissions_for(me)
    return [gettext(PERMISSION_NAMES[name]) for name in dict.fromkeys(needed) if not getattr(granted, name)]


def lacking_to_post(channel: discord.abc.GuildChannel | discord.Thread) -> list[str]:
    """Return the names of the permissions that the bot lacks for writing in the channel or thread."""
    needed = TO_POST_IN_THREADS if isinstance(channel, discord.Thread) else TO_POST
    return lacking(channel, channel.guild.me, needed)


def visible_channels(member: discord.Member) -> frozenset[int]:
    """Return the channels and open threads that the member can read; Discord does not list archived threads."""
    guild = member.guild
    return frozenset(channel.id for channel in (*guild.channels, *guild.threads) if may_read(channel, member))


def may_read(channel: discord.abc.GuildChannel | discord.Thread, member: discord.Member) -> bool:
    """Return whether the member can read the messages of a channel or thread.

    A private thread needs Manage Threads: Discord does not tell every bot who is in it.
    """
    if isinstance(channel, discord.Thread):
        if channel.parent is None:
            return False
        manages = channel.parent.permissions_for(member).manage_threads
        return may_read(channel.parent, member) and (manages or not channel.is_private())
    rights = channel.permissions_for(member)
    return rights.view_channel and rights.read_message_history and (rights.connect or not isinstance(channel, CALLS))
