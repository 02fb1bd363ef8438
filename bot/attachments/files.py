"""Downloads attachments through discord.py, and reads the text of files."""

from __future__ import annotations

import asyncio
from pathlib import PurePath

import discord

from bot.discord_errors import DISCORD_ERRORS
from bot.errors import UserFacingError
from bot.knowledge.extraction import SUFFIXES, MediaType, Unreadable, extract
from storage.settings.sections import KnowledgeSettings

DOWNLOAD_S = 20.0
READ_S = 10.0
"""Longest time that reading a file may take: other members' files wait meanwhile."""
TEXT_TYPES = ("text/", "application/json")
"""Beginnings of content types that are plain text, under any file name."""


def text_type_of(file: discord.Attachment) -> MediaType | None:
    """Return the text type of a file by its name and Discord's content type; None if it isn't text."""
    is_text = (file.content_type or "").startswith(TEXT_TYPES)
    return SUFFIXES.get(PurePath(file.filename).suffix.lower(), MediaType.TEXT if is_text else None)


async def fetch_file(file: discord.Attachment, max_bytes: int, *, timeout_s: float = DOWNLOAD_S) -> bytes:
    """Return an attachment's content; raises UserFacingError."""
    if file.size > max_bytes:
        raise UserFacingError(
            "I couldn't open {filename}: it has {size} MB, and I open up to {limit} MB.",
            filename=file.filename,
            size=round(file.size / 1e6, 1),
            limit=round(max_bytes / 1e6, 1),
        )
    try:
        async with asyncio.timeout(timeout_s):
            return await file.read()
    except DISCORD_ERRORS as error:
        raise UserFacingError(
            "I couldn't get {filename} from Discord. Please send it again.", filename=file.filename
        ) from error


async def text_of(
    content: bytes, name: str, media_type: MediaType, settings: KnowledgeSettings, enough_chars: int
) -> str:
    """Return the text of a file or page, of a longer one more than `enough_chars`; raises UserFacingError."""
    try:
        blocks = await extract(content, name, settings, media_type, enough_chars=enough_chars, timeout_s=READ_S)
    except Unreadable as error:
        raise UserFacingError(error.message, **error.values) from error
    return "\n\n".join(block.text for block in blocks)
