"""Threads that the bot opens for a conversation with it: with `/thread`, or where each conversation gets one."""

from __future__ import annotations

import logging
from dataclasses import replace

import discord

from bot.chat.ask import Ask
from bot.discord_errors import DISCORD_ERRORS
from bot.guards.permissions import TO_OPEN_THREADS, lacking
from bot.localization.sentences import gettext, listing
from bot.servers.setups import ServerSetups, places_around
from bot.text.sanitize import quote_plainly
from storage.wording import gettext_noop, shorten

log = logging.getLogger(__name__)

NAME_CHARS = 60
UNNAMED = gettext_noop("A conversation")
HAS_THREAD, TOO_MANY_THREADS = 160004, 160006  # Discord's error codes


def thread_name(words: str) -> str:
    """Return a name for a thread: the question's beginning, on one line and without mentions and invites."""
    return shorten(quote_plainly(words), NAME_CHARS) or gettext(UNNAMED)


def is_closed(thread: discord.Thread) -> bool:
    """Return whether the bot may not write there, because a moderator has locked it."""
    parent = thread.parent
    return thread.locked and not (parent and parent.permissions_for(thread.guild.me).manage_threads)


def channel_of_starter(channel: object, message_id: int) -> discord.TextChannel | None:
    """Return the channel that holds the message, if `channel` is the thread that was made from it.

    The thread has the message's ID. A forum's post has that of its first message too, which stands in the post.
    """
    if not isinstance(channel, discord.Thread) or channel.id != message_id:
        return None
    return channel.parent if isinstance(channel.parent, discord.TextChannel) else None


def describe_refusal(error: Exception) -> str:
    """Return the reason why Discord opened no thread; `error` is one of DISCORD_ERRORS."""
    if getattr(error, "code", 0) == TOO_MANY_THREADS:
        return gettext("the server has as many open threads as Discord allows")
    return gettext("Discord refused it")


async def move_to_own_thread(setups: ServerSetups, message: discord.Message, words: str, ask: Ask) -> Ask:
    """Let the question be answered in a thread made from its message, where the server wants that.

    If that is not possible, the answer comes in the channel, and its small print says why.
    """
    channel = message.channel
    if not isinstance(channel, discord.TextChannel) or not _wants_threads(setups, channel):
        return ask
    if missing := lacking(channel, channel.guild.me, TO_OPEN_THREADS):
        return _without_thread(
            ask, gettext("for a thread of its own I need {permissions} here", permissions=listing(missing))
        )
    try:
        thread = await _open_thread(message, channel.guild, words)
    except DISCORD_ERRORS as error:
        log.warning("No thread could be made from message %d: %s", message.id, error)
        return _without_thread(ask, gettext("not in a thread of its own: {reason}", reason=describe_refusal(error)))
    if is_closed(thread):
        return _without_thread(ask, gettext("not in a thread of its own: that one is locked"))
    return replace(ask, channel=thread, channel_id=thread.id)


def _wants_threads(setups: ServerSetups, channel: discord.TextChannel) -> bool:
    choices = setups.of(channel.guild.id)
    return choices.threads_everywhere or not choices.thread_channels.isdisjoint(places_around(channel))


def _without_thread(ask: Ask, why: str) -> Ask:
    return replace(ask, notes=(*ask.notes, why))


async def _open_thread(message: discord.Message, guild: discord.Guild, words: str) -> discord.Thread:
    """Make a thread from the message, or return the one that somebody else made from it."""
    try:
        return await message.create_thread(name=thread_name(words))
    except discord.HTTPException as error:
        if error.code != HAS_THREAD:
            raise
    found = guild.get_thread(message.id) or await guild.fetch_channel(message.id)
    assert isinstance(found, discord.Thread)
    return found
