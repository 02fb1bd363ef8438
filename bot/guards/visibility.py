"""Which channels of a server a member can read."""

from __future__ import annotations

import discord

CALLS = (discord.VoiceChannel, discord.StageChannel)


def visible_channels(member: discord.Member) -> frozenset[int]:
    """Return the channels and open threads that the member can read; Discord does not list archived threads."""
    guild = member.guild
    return frozenset(channel.id for channel in (*guild.channels, *guild.threads) if may_read(channel, member))


def may_read(channel: discord.abc.GuildChannel | discord.Thread, member: discord.Member) -> bool:
    """Return whether the member can read what was written there.

    A private thread needs Manage Threads: Discord does not tell every bot who is in it.
    """
    if isinstance(channel, discord.Thread):
        return channel.parent is not None and _may_read_thread(channel, channel.parent, member)
    rights = channel.permissions_for(member)
    return rights.view_channel and rights.read_message_history and (rights.connect or not isinstance(channel, CALLS))


def _may_read_thread(
    thread: discord.Thread, parent: discord.ForumChannel | discord.TextChannel, member: discord.Member
) -> bool:
    manages = parent.permissions_for(member).manage_threads
    return may_read(parent, member) and (manages or not thread.is_private())
