"""What somebody sees of the messages in a place."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import discord
from markupsafe import Markup

from bot.demo.channel.markdown import to_html
from bot.demo.channel.world import BOT_NAME, Seat

MOST_SHOWN = 50
PICTURES = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp"})
EXCERPT_CHARS = 80
DELETED = "a deleted message"


@dataclass(frozen=True)
class Chip:
    """A reaction under a message."""

    emoji: str
    people: tuple[str, ...]
    is_own: bool


@dataclass(frozen=True)
class ShownMessage:
    message: discord.Message
    is_own: bool
    is_bot: bool
    answers: str
    """Whom and what it replies to, if it does."""
    html: Markup
    embeds: tuple[tuple[discord.Embed, Markup], ...]
    """Each with the HTML of its description."""
    reactions: tuple[Chip, ...]
    buttons: tuple[discord.Button, ...]
    state: int
    """Differs after each change."""

    @property
    def id(self) -> int:
        return self.message.id

    @property
    def is_private(self) -> bool:
        return self.message.flags.ephemeral

    @property
    def pictures(self) -> list[discord.Attachment]:
        return [one for one in self.message.attachments if one.content_type in PICTURES]

    @property
    def files(self) -> list[discord.Attachment]:
        return [one for one in self.message.attachments if one.content_type not in PICTURES]


@dataclass(frozen=True)
class Timeline:
    """The newest messages, or those before one of them, oldest first."""

    messages: tuple[ShownMessage, ...]
    before: int | None
    """The ID that earlier messages come before; None if there are none."""
    changes: int
    """What the world counted when this was read."""


def read_timeline(seat: Seat, before: int | None = None) -> Timeline:
    changes = seat.world.changes
    found = seat.messages()
    by_id = {message.id: message for message in found}
    earlier = [message for message in found if before is None or message.id < before]
    window = earlier[-MOST_SHOWN:]
    mentions = seat.world.mentions()
    return Timeline(
        tuple(_show(message, seat, by_id, mentions) for message in window),
        window[0].id if len(earlier) > len(window) else None,
        changes,
    )


def _show(
    message: discord.Message, seat: Seat, by_id: dict[int, discord.Message], mentions: dict[str, str]
) -> ShownMessage:
    # discord.Message says how many reacted, but not who.
    stored = seat.world.env.backend.get_message(seat.channel.id, message.id)
    names = {member.id: name for name, member in seat.world.people.items()}
    return ShownMessage(
        message,
        is_own=message.author.id == seat.member.id,
        is_bot=message.author.bot,
        answers=_answers(message, by_id),
        html=to_html(message.content, mentions),
        embeds=tuple((embed, to_html(embed.description or "", mentions)) for embed in message.embeds),
        reactions=tuple(
            Chip(one.emoji, tuple(names.get(id_, BOT_NAME) for id_ in one.user_ids), seat.member.id in one.user_ids)
            for one in stored.reactions
        ),
        buttons=tuple(_buttons(message.components)),
        state=zlib.crc32(repr(stored).encode()),
    )


def _answers(message: discord.Message, by_id: dict[int, discord.Message]) -> str:
    if message.reference is None or message.reference.message_id is None:
        return ""
    answered = by_id.get(message.reference.message_id)
    return f"{answered.author.display_name}: {excerpt(answered.content)}" if answered else DELETED


def excerpt(content: str) -> str:
    """Return the beginning of a message, on one line."""
    line = " ".join(content.split())
    return line if len(line) <= EXCERPT_CHARS else f"{line[:EXCERPT_CHARS]} …"


def _buttons(rows: Sequence[discord.Component]) -> list[discord.Button]:
    parts = chain.from_iterable(row.children for row in rows if isinstance(row, discord.ActionRow))
    return [part for part in parts if isinstance(part, discord.Button)]
