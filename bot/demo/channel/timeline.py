"""The messages of a place, as a person sees them."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from itertools import pairwise

import discord
from markupsafe import Markup
from simcord.backend.models import Message
from simcord.components import component_mentions

from bot.demo.channel.components import Part, PartReader
from bot.demo.channel.markdown import SMALL_PRINT, to_html
from bot.demo.channel.world import Seat

MOST_SHOWN = 50
PICTURES = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp"})
BOT_PICTURE = "/static/icon.svg"
SUMMARY_CHARS = 80
TOGETHER = timedelta(minutes=7)
"""Longest pause between messages of one author that stand under one name, as in Discord."""
DELETED = "a deleted message"


@dataclass(frozen=True)
class Chip:
    """A reaction under a message."""

    emoji: str
    people: tuple[str, ...]
    """People who reacted; not the bot, which begins a reaction so that people need only click on it."""
    is_own: bool


@dataclass(frozen=True)
class ShownEmbed:
    title: str
    html: Markup
    """The description."""
    fields: tuple[tuple[str, Markup], ...]
    """(name, value)"""
    footer: str


@dataclass(frozen=True)
class ShownMessage:
    message: discord.Message
    is_own: bool
    is_bot: bool
    avatar: str
    """The address of the author's picture; empty for the first letter of the name."""
    answers: str
    """The message that this one replies to, unless that is right above it, or the action that it responds to."""
    html: Markup
    embeds: tuple[ShownEmbed, ...]
    reactions: tuple[Chip, ...]
    parts: tuple[Part, ...]
    """Rows of buttons and selects, or the whole message where Discord lays it out."""
    thread: Seat | None
    """The seat in the message's thread, if it has one."""
    continues: bool
    """Whether the message stands under the name of the message before it."""
    state: int
    """A number that differs after each change of the message."""

    @property
    def id(self) -> int:
        return self.message.id

    @property
    def is_private(self) -> bool:
        return self.message.flags.ephemeral

    @property
    def pictures(self) -> list[discord.Attachment]:
        return [one for one in self._attachments if one.content_type in PICTURES]

    @property
    def files(self) -> list[discord.Attachment]:
        return [one for one in self._attachments if one.content_type not in PICTURES]

    @property
    def _attachments(self) -> list[discord.Attachment]:
        """Attachments to show below the message; none for a layout, which shows its own."""
        return [] if self.message.flags.components_v2 else self.message.attachments


@dataclass(frozen=True)
class Timeline:
    """The newest messages, or those before one of them, oldest first."""

    messages: tuple[ShownMessage, ...]
    before: int | None
    """ID of the oldest message here, for a page of earlier ones; None if there are none."""
    changes: int
    """`World.changes` at the time of reading."""


def read_timeline(seat: Seat, before: int | None = None) -> Timeline:
    changes, reader = seat.world.changes, _Reader(seat)
    earlier = [message for message in reader.messages if before is None or message.id < before]
    window = earlier[-MOST_SHOWN:]
    has_more = len(earlier) > len(window)
    shown = tuple(reader.show(message, before) for before, message in pairwise([None, *window]) if message)
    return Timeline(shown, window[0].id if has_more else None, changes)


def _continues(message: discord.Message, before: discord.Message | None) -> bool:
    """Return whether one author goes on talking, without answering something else."""
    return (
        before is not None
        and message.author == before.author
        and message.author.display_name == before.author.display_name
        and message.created_at - before.created_at < TOGETHER
        and not (message.reference or message.flags.ephemeral or before.flags.ephemeral)
    )


class _Reader:
    """Shows messages as one person sees them."""

    def __init__(self, seat: Seat) -> None:
        self._seat = seat
        self.messages = seat.messages()
        self._by_id = {message.id: message for message in self.messages}
        self._names = {member.id: name for name, member in seat.world.people.items()}
        self._mentions = seat.world.mentions()
        self._seats = {other.channel.id: other for other in seat.world.seats_of(seat.member.name)}
        self._paths = {id_: other.path for id_, other in self._seats.items()}
        self._parts = PartReader(seat.world, self._html)

    def show(self, message: discord.Message, before: discord.Message | None) -> ShownMessage:
        me, answers, thread = self._seat.member.id, self._answers(message, before), self._seats.get(message.id)
        # discord.Message says how many reacted, but not who.
        stored = self._seat.world.env.backend.get_message(message.channel.id, message.id)
        continues = not answers and _continues(message, before)
        return ShownMessage(
            message,
            is_own=message.author.id == me,
            is_bot=message.author.bot,
            avatar=self._avatar(message, stored),
            answers=answers,
            html=self._html(message.system_content if message.is_system() else message.content),
            embeds=tuple(map(self._embed, message.embeds)),
            reactions=tuple(
                Chip(one.emoji, tuple(filter(None, map(self._names.get, one.user_ids))), me in one.user_ids)
                for one in stored.reactions
            ),
            parts=self._parts.read(stored.components),
            thread=thread,
            continues=continues,
            state=zlib.crc32(repr((stored, answers, thread and thread.newest_id, continues)).encode()),
        )

    def _avatar(self, message: discord.Message, stored: Message) -> str:
        """Return the address of the author's picture; empty for a coloured letter, as of a personality without one."""
        bot = self._seat.world.env.bot
        if message.author == bot.user:
            return BOT_PICTURE
        has_the_bots = bot.user is not None and stored.author_avatar == bot.user.display_avatar.url
        has_own = bot.services.webhooks.is_own(message) and not has_the_bots
        return f"{self._seat.path}/messages/{message.id}/picture" if has_own else ""

    def _embed(self, embed: discord.Embed) -> ShownEmbed:
        fields = tuple((field.name or "", self._html(field.value or "")) for field in embed.fields)
        return ShownEmbed(embed.title or "", self._html(embed.description or ""), fields, embed.footer.text or "")

    def _html(self, content: str) -> Markup:
        return to_html(content, self._mentions, self._paths)

    def _answers(self, message: discord.Message, before: discord.Message | None) -> str:
        if message.reference is None or message.reference.message_id is None:
            return self._seat.world.causes.get(message.id, "")
        if before is not None and message.reference.message_id == before.id:
            return ""
        answered = self._by_id.get(message.reference.message_id)
        return summarize(answered, self._mentions) if answered else DELETED


def summarize(message: discord.Message, mentions: Mapping[str, str]) -> str:
    """Return a message's author and its beginning, on one line and without small print."""
    words = message.content or component_mentions([part.to_dict() for part in message.components])
    line = " ".join(words.split(f"\n{SMALL_PRINT}")[0].split())
    for mention, name in mentions.items():
        line = line.replace(mention, name)
    said = line if len(line) <= SUMMARY_CHARS else f"{line[:SUMMARY_CHARS]} …"
    return f"{message.author.display_name}: {said}"
