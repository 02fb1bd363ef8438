"""From Discord messages to the turns of a conversation."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import discord

from bot.prompting import Turn
from storage.database import Database
from storage.replies import Reply, find_by_message

SPOKEN = (discord.MessageType.default, discord.MessageType.reply)


@dataclass(frozen=True)
class Conversation:
    """The turns, oldest first and the question last, and the people whose words they hold."""

    turns: tuple[Turn, ...]
    speakers: frozenset[int]
    has_question: bool
    """Somebody said something to answer: in the message itself, or in the one that it replies to."""


class Reader:
    """Reads the conversation that a message belongs to."""

    def __init__(self, client: discord.Client, database: Database, history_messages: int) -> None:
        self._client = client
        self._database = database
        self._history_messages = history_messages

    async def read(self, message: discord.Message) -> Conversation:
        """Return the reply chain of `message`; in direct messages and threads, what was said before as well."""
        earlier = await self._recent(message) if _is_continuous(message.channel) else await self._chain(message)
        said = [await self._spoken(m) for m in (*earlier, message)]
        spoken = _without_siblings(said)
        points_at_words = message.reference is not None and any(s.turn.speaker is not None for s in spoken)
        return Conversation(
            turns=tuple(s.turn for s in spoken),
            speakers=frozenset().union(*(s.people for s in spoken)),
            has_question=said[-1] is not None or points_at_words,
        )

    async def _recent(self, message: discord.Message) -> list[discord.Message]:
        if self._history_messages == 0:
            return []
        recent = [m async for m in message.channel.history(limit=self._history_messages, before=message)]
        return recent[::-1]

    async def _chain(self, message: discord.Message) -> list[discord.Message]:
        chain: list[discord.Message] = []
        current: discord.Message | None = message
        while current is not None and len(chain) < self._history_messages:
            current = await self._replied_to(current)
            if current is not None:
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

    async def _spoken(self, message: discord.Message) -> _Spoken | None:
        if message.author == self._client.user:
            return await self._own(message)
        text = own_words(message, self._client.user)
        if message.author.bot or message.type not in SPOKEN or not text:
            return None
        return _Spoken(Turn(message.author.display_name, text), frozenset({message.author.id}))

    async def _own(self, message: discord.Message) -> _Spoken | None:
        """Return the whole answer that the message carries; notices of the bot are no part of a conversation."""
        reply = await self._database.read(find_by_message, message.id)
        if reply is None or not reply.answer:
            return None
        # An answer may quote the people it answers, so it is theirs as well.
        return _Spoken(Turn(None, reply.answer), frozenset(reply.speakers), reply)


@dataclass(frozen=True)
class _Spoken:
    turn: Turn
    people: frozenset[int]
    reply: Reply | None = None


def own_words(message: discord.Message, bot: discord.ClientUser | None) -> str:
    """Return what the person wrote, without the mention that called the bot."""
    content = message.content
    if bot:
        content = re.sub(rf"\s*<@!?{bot.id}>\s*", " ", content).strip()
    for user in message.mentions:
        for mention in (f"<@{user.id}>", f"<@!{user.id}>"):
            content = content.replace(mention, f"@{user.display_name}")
    return content


def _is_continuous(channel: discord.abc.MessageableChannel) -> bool:
    return isinstance(channel, discord.DMChannel | discord.Thread)


def _without_siblings(spoken: Sequence[_Spoken | None]) -> list[_Spoken]:
    """Keep one answer to each question, the latest, and count an answer over several messages once."""
    latest: dict[int | None, int] = {}
    for said in spoken:
        if said and said.reply:
            latest[said.reply.source_message_id] = said.reply.id
    kept: list[_Spoken] = []
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
