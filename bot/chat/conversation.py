"""From Discord messages to the turns of a conversation."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import discord

from bot.chat.prompting import Turn
from storage.conversations.memory import Memory, read_memory
from storage.conversations.replies import NO_SOURCES, Reply, Sources, find_by_message
from storage.database.database import Database
from storage.database.enums import NOBODY

SPOKEN = (discord.MessageType.default, discord.MessageType.reply)


@dataclass(frozen=True)
class Conversation:
    """The turns, oldest first and the question last, and the people whose words they hold."""

    turns: tuple[Turn, ...]
    speakers: frozenset[int]
    has_question: bool
    """Somebody said something to answer: in the message itself, or in the one that it replies to."""
    summary: str = ""
    """What was said before the turns, where that is remembered."""
    is_full: bool = False
    """There are as many earlier messages as are read, so some may be missing."""
    sources: Sources = NO_SOURCES
    """The Discord messages whose words the turns and the summary hold."""


class ConversationReader:
    """Reads the conversation that a message belongs to."""

    def __init__(self, client: discord.Client, database: Database, history_messages: int) -> None:
        self._client = client
        self._database = database
        self._history_messages = history_messages

    async def read(self, message: discord.Message) -> Conversation:
        """Return the reply chain of `message`; in direct messages and threads, what was said before as well."""
        memory = await self._database.read(read_memory, message.channel.id)
        is_continuous = is_one_conversation(message.channel)
        earlier = await self._recent(message, memory) if is_continuous else await self._chain(message, memory)
        said = [await self._spoken(m) for m in (*earlier, message)]
        spoken = _without_siblings(said)
        points_at_words = message.reference is not None and any(s.turn.speaker is not None for s in spoken)
        return Conversation(
            turns=tuple(s.turn for s in spoken),
            speakers=frozenset().union(*(s.people for s in spoken), memory.speakers if is_continuous else ()),
            has_question=said[-1] is not None or points_at_words,
            summary=memory.summary if is_continuous else "",
            is_full=is_continuous and len(earlier) >= self._history_messages > 0,
            sources=Sources(
                {message_id: user_id for s in spoken for message_id, user_id in s.messages.items()},
                memory.span if is_continuous else None,
            ),
        )

    async def read_after(self, channel: discord.abc.Messageable, message_id: int, limit: int) -> list[SpokenMessage]:
        """Return what was said after a message, oldest first; without one (0) the newest of all that was said."""
        since = discord.Object(message_id) if message_id else None
        found = [m async for m in channel.history(limit=limit, after=since, oldest_first=since is not None)]
        said = [await self._spoken(m) for m in (found if since else found[::-1])]
        return _without_siblings(said)

    async def _recent(self, message: discord.Message, memory: Memory) -> list[discord.Message]:
        if self._history_messages == 0:
            return []
        since = discord.Object(memory.begins_after) if memory.begins_after else None
        history = message.channel.history(limit=self._history_messages, before=message, after=since, oldest_first=False)
        return [m async for m in history][::-1]

    async def _chain(self, message: discord.Message, memory: Memory) -> list[discord.Message]:
        chain: list[discord.Message] = []
        current: discord.Message | None = message
        while current is not None and len(chain) < self._history_messages:
            current = await self._replied_to(current)
            if current is None or current.id <= memory.forgotten_to:
                break
            chain.append(current)
        return chain[::-1]

    async def _replied_to(self, message: discord.Message) -> discord.Message | None:
        reference = message.reference
        if reference is None or reference.message_id is None:
            return None
        if isinstance(reference.resolved, discord.Message):
            return reference.resolved
        if isinstance(reference.resolved, discord.DeletedReferencedMessage):
            return None
        try:
            return await message.channel.fetch_message(reference.message_id)
        except discord.HTTPException:
            return None

    async def _spoken(self, message: discord.Message) -> SpokenMessage | None:
        if message.author == self._client.user:
            return await self._own(message)
        text = own_words(message, self._client.user)
        if message.author.bot or message.type not in SPOKEN or not text:
            return None
        return SpokenMessage(message.id, Turn(message.author.display_name, text), frozenset({message.author.id}))

    async def _own(self, message: discord.Message) -> SpokenMessage | None:
        """Return the whole answer that the message carries; notices of the bot are no part of a conversation."""
        reply = await self._database.read(find_by_message, message.id)
        if reply is None or not reply.answer:
            return None
        # An answer may quote the people it answers, so it is theirs as well.
        return SpokenMessage(message.id, Turn(None, reply.answer), frozenset(reply.speakers), reply)


@dataclass(frozen=True)
class SpokenMessage:
    """One message with words, or the whole answer that it carries a part of."""

    message_id: int
    turn: Turn
    people: frozenset[int]
    reply: Reply | None = None

    @property
    def messages(self) -> dict[int, int]:
        """Return {message id: author's id} of the Discord messages that carry it; nobody's of the bot's own."""
        if self.reply is not None:
            return dict.fromkeys(self.reply.message_ids, NOBODY)
        (author_id,) = self.people
        return {self.message_id: author_id}


def own_words(message: discord.Message, bot: discord.ClientUser | None) -> str:
    """Return what the person wrote, without the mention that called the bot."""
    content = message.content
    if bot:
        content = re.sub(rf"\s*<@!?{bot.id}>\s*", " ", content).strip()
    for user in message.mentions:
        for mention in (f"<@{user.id}>", f"<@!{user.id}>"):
            content = content.replace(mention, f"@{user.display_name}")
    return content


def is_one_conversation(channel: discord.abc.MessageableChannel) -> bool:
    """Return whether all that is said in the channel is one conversation, as in direct messages and threads."""
    return isinstance(channel, discord.DMChannel | discord.Thread)


def _without_siblings(spoken: Sequence[SpokenMessage | None]) -> list[SpokenMessage]:
    """Keep one answer to each question, the latest, and count an answer over several messages once."""
    latest: dict[int | None, int] = {}
    for said in spoken:
        if said and said.reply:
            latest[said.reply.source_message_id] = said.reply.id
    kept: list[SpokenMessage] = []
    seen: set[int] = set()
    for said in spoken:
        if said is None:
            continue
        if said.reply:
            if said.reply.id in seen or latest[said.reply.source_message_id] != said.reply.id:
                continue
            seen.add(said.reply.id)
        kept.append(said)
    return kept
