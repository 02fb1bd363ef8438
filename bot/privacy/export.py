"""Sends members everything that is stored about them, as files."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import Sequence
from io import BytesIO
from typing import Any

import discord

from bot.guards.error_handler import answer_privately
from bot.localization.sentences import gettext
from bot.services import Services
from storage.privacy.member_data import export_member
from storage.wording import gettext_noop

NAME = "reactune-data"
FILES_AT_ONCE = 10  # Discord's limit
EXPORT = gettext_noop("Here is everything I store about you.")
SENT = gettext_noop("I sent you everything I store about you as a direct message. The file explains how to read it.")
NOT_SENT = gettext_noop(
    "I can't send you direct messages, so here is everything I store about you. Only you can see it. Save the file "
    "now: it disappears when you restart Discord."
)


async def send_export(interaction: discord.Interaction, services: Services) -> None:
    """Send the files in a direct message, or in the private answer to a member who takes none."""
    await interaction.response.defer(ephemeral=True, thinking=True)
    export = await services.database.read(export_member, interaction.user.id)
    files = await asyncio.to_thread(pack, export, discord.utils.DEFAULT_FILE_SIZE_LIMIT_BYTES)
    try:
        for batch in discord.utils.as_chunks(files, FILES_AT_ONCE):
            await interaction.user.send(gettext(EXPORT), files=_attachments(batch))
    except discord.Forbidden:
        for batch in discord.utils.as_chunks(files, FILES_AT_ONCE):
            await interaction.followup.send(gettext(NOT_SENT), files=_attachments(batch), ephemeral=True)
        return
    await answer_privately(interaction, gettext(SENT))


def _attachments(files: Sequence[tuple[str, bytes]]) -> list[discord.File]:
    return [discord.File(BytesIO(content), name) for name, content in files]


def pack(export: dict[str, Any], limit_bytes: int) -> list[tuple[str, bytes]]:
    """Return (name, content) of each file; each part of several is a complete JSON document."""
    plain = _encode(export)
    if len(plain) <= limit_bytes:
        return [(f"{NAME}.json", plain)]
    parts = _split(export, limit_bytes)
    if len(parts) == 1:
        return [(f"{NAME}.json.gz", _compress(export))]
    return [
        (f"{NAME}-{number}-of-{len(parts)}.json.gz", _compress({**part, "part": number, "parts": len(parts)}))
        for number, part in enumerate(parts, start=1)
    ]


def _split(export: dict[str, Any], limit_bytes: int) -> list[dict[str, Any]]:
    """Halve the longest list until every part fits; a single row that is too long is sent as it is."""
    longest = max((key for key, rows in export.items() if isinstance(rows, list)), key=lambda key: len(export[key]))
    rows = export[longest]
    if len(_compress(export)) + len('"part": 1000, "parts": 1000') <= limit_bytes or len(rows) < 2:
        return [export]
    middle = len(rows) // 2
    others = {key: value[:0] if isinstance(value, list) else value for key, value in export.items()}
    halves = ({**export, longest: rows[:middle]}, {**others, longest: rows[middle:]})
    return [part for half in halves for part in _split(half, limit_bytes)]


def _encode(export: dict[str, Any]) -> bytes:
    return json.dumps(export, ensure_ascii=False, indent=1).encode()


def _compress(export: dict[str, Any]) -> bytes:
    return gzip.compress(_encode(export), mtime=0)
