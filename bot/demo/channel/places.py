"""The places of the simulated server: its channels, each with its threads, and direct messages with the bot."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import simcord
from simcord.builders import ChannelHandle, GuildHandle
from simcord.enums import ChannelType

from storage.database.enums import Rule

BOT_NAME = "Reactune"
LOUNGE, MENTIONS, THREAD, QUESTIONS, PIRATES, DIRECT = "lounge", "mentions", "thread", "questions", "pirates", "direct"
TOPICS = {
    LOUNGE: "I answer every message here.",
    MENTIONS: f"I answer here when you mention me: @{BOT_NAME}.",
    QUESTIONS: "I answer questions here; I stay quiet otherwise.",
    PIRATES: "Captain Brine answers every message here: another personality, which learns from its own votes.",
}
FIRST_RULES = {LOUNGE: Rule.ALWAYS, MENTIONS: Rule.REPLY, QUESTIONS: Rule.QUESTION, PIRATES: Rule.ALWAYS}
"""Rules under which the channels' topics are true; `/setup` can change them."""
BY_RULE = {
    Rule.NEVER: "I don't answer here.",
    Rule.MENTION: TOPICS[MENTIONS],
    Rule.REPLY: f"I answer here when you mention me, @{BOT_NAME}, or reply to me.",
    Rule.QUESTION: TOPICS[QUESTIONS],
    Rule.ALWAYS: TOPICS[LOUNGE],
}
IN_THREAD = "A thread is one conversation: I read what was said before."
IN_PRIVATE = "Only the two of us, and whoever runs the bot, can read this."
MAX_THREAD_NAME_CHARS = 100  # Discord's limit


@dataclass(frozen=True)
class TalkPlace:
    """A place to talk."""

    key: str
    """The place's name in addresses."""
    name: str
    about: str
    channel: ChannelHandle

    @property
    def is_direct(self) -> bool:
        return self.channel.guild is None


def shared_channels(env: simcord.Env, guild: GuildHandle) -> Iterator[ChannelHandle]:
    """Yield the server's text channels, oldest first, each followed by its threads; also those that the bot made."""
    for channel in list(env.backend.channels.values()):
        if channel.guild_id == guild.id and channel.type == ChannelType.TEXT:
            handle = ChannelHandle(env, guild, channel)
            yield handle
            yield from (thread for thread in handle.threads if not _is_archived(env, thread))


def _is_archived(env: simcord.Env, thread: ChannelHandle) -> bool:
    facts = env.backend.get_channel(thread.id).thread_metadata
    return facts is not None and facts.archived
