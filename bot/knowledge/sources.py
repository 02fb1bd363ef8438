"""Reads documents from their sources: typed text, a file, a message, or the pinned messages of a channel."""

from __future__ import annotations

import re
from collections.abc import Sequence

import discord

from bot.errors import UserFacingError
from bot.knowledge.chunking import Block
from bot.knowledge.extraction import MediaType, Unreadable, extract, media_type_of, parse_markdown, too_large
from bot.knowledge.library import Source
from storage.database.enums import DocumentKind
from storage.settings.sections import KnowledgeSettings

LOWEST_HEADING = 6
MESSAGE_LINK = re.compile(r"https://(?:\w+\.)?discord(?:app)?\.com/channels/(\d+)/(\d+)/(\d+)/?")
NO_LINK = "That is not a message link. Choose Copy Message Link in the message's menu."
ELSEWHERE = "That message is in another server. I only add messages of this one."
NOT_FOUND = "I can't find that message: it was deleted, or I can't read its channel."
NOT_YOURS = "You can't read that channel yourself."
NO_WORDS = "That message has no text. If it has a file, add the file instead."
NO_PINS = "No message with text is pinned there."

Channel = discord.abc.GuildChannel | discord.Thread
PinsChannel = discord.TextChannel | discord.VoiceChannel | discord.StageChannel | discord.Thread


async def from_file(file: discord.Attachment, settings: KnowledgeSettings) -> Source:
    """Download and read an attachment; raises Unreadable."""
    media_type = media_type_of(file.filename)
    if file.size > settings.max_file_bytes:
        raise Unreadable(too_large(file.filename, file.size, settings))
    try:
        content = await file.read()
    except discord.HTTPException as error:
        raise Unreadable(f"{file.filename} could not be downloaded from Discord ({error.status}): try again") from error
    return Source(DocumentKind.FILE, await extract(content, file.filename, settings), media_type)


def from_text(text: str) -> Source:
    return Source(DocumentKind.TEXT, parse_markdown(text), MediaType.MARKDOWN)


async def from_link(link: str, reader: discord.Member) -> tuple[Source, str]:
    """Return the linked message, and a title for it; raises UserFacingError."""
    message = await _fetch(link, reader)
    return from_message(message), f"Message in #{message.channel}"


def from_message(message: discord.Message) -> Source:
    """Return the text of a message; raises UserFacingError if it has none."""
    blocks = parse_markdown(message.content)
    if not blocks:
        raise UserFacingError(NO_WORDS)
    return Source(
        DocumentKind.MESSAGE, blocks, MediaType.MARKDOWN, message.jump_url, _speakers([message]), _ids([message])
    )


async def from_pins(channel: Channel, reader: discord.Member) -> Source:
    """Return the pinned messages of a channel that the reader can see; raises UserFacingError."""
    if not isinstance(channel, PinsChannel) or not _may_read(channel, reader):
        raise UserFacingError(NOT_YOURS)
    return await read_pins(channel)


async def read_pins(channel: PinsChannel) -> Source:
    """Return the pinned messages of a channel, each below its author and date; raises UserFacingError."""
    try:
        pinned = [message async for message in channel.pins()]
    except discord.HTTPException as error:
        raise UserFacingError(f"I can't read the pinned messages of #{channel}.") from error
    blocks = [block for message in reversed(pinned) for block in _under_its_author(message)]
    if not blocks:
        raise UserFacingError(NO_PINS)
    return Source(DocumentKind.PINS, blocks, MediaType.MARKDOWN, channel.jump_url, _speakers(pinned), _ids(pinned))


async def _fetch(link: str, reader: discord.Member) -> discord.Message:
    match = MESSAGE_LINK.fullmatch(link.strip())
    if match is None:
        raise UserFacingError(NO_LINK)
    guild_id, channel_id, message_id = (int(part) for part in match.groups())
    if guild_id != reader.guild.id:
        raise UserFacingError(ELSEWHERE)
    channel = reader.guild.get_channel_or_thread(channel_id)
    if not isinstance(channel, discord.abc.Messageable):
        raise UserFacingError(NOT_FOUND)
    if not _may_read(channel, reader):
        raise UserFacingError(NOT_YOURS)
    try:
        return await channel.fetch_message(message_id)
    except discord.HTTPException as error:
        raise UserFacingError(NOT_FOUND) from error


def _may_read(channel: Channel, reader: discord.Member) -> bool:
    permissions = channel.permissions_for(reader)
    return permissions.read_messages and permissions.read_message_history


def _under_its_author(message: discord.Message) -> list[Block]:
    blocks = parse_markdown(message.content)
    heading = Block(f"{message.author.display_name}, {message.created_at:%Y-%m-%d}", level=1)
    lower = [Block(block.text, min(block.level + 1, LOWEST_HEADING) if block.level else 0) for block in blocks]
    return [heading, *lower] if blocks else []


def _ids(messages: Sequence[discord.Message]) -> dict[int, int]:
    return {message.id: message.channel.id for message in messages if message.content}


def _speakers(messages: Sequence[discord.Message]) -> frozenset[int]:
    return frozenset(message.author.id for message in messages if message.content and not message.author.bot)
