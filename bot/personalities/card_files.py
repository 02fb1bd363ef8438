"""Exports cards and versions as files, and imports them from attachments."""

from __future__ import annotations

import asyncio
import tempfile
from io import BytesIO
from pathlib import Path

import discord
from sqlalchemy.orm import Session

from bot.attachments.files import fetch_file
from bot.errors import UserFacingError
from bot.guards.access import user_label
from bot.personalities.selection import require_own
from bot.services import Services
from storage.models.personality_files import Provenance, read_provenance, zip_version
from storage.models.personality_imports import ZIP_SUFFIX, ImportedPersonality, ImportRequest, import_personality_file
from storage.personalities.card_files import CARD_SUFFIX, CARD_SUFFIXES
from storage.personalities.cards import MAX_CARD_BYTES, format_card
from storage.personalities.personalities import Personality
from storage.personalities.tavern.files import MAX_JSON_BYTES, MAX_PICTURE_BYTES
from storage.releases.versions import version_named

MAX_ATTACHMENT_BYTES = 100_000_000
IMPORT_S = 300.0
LIMITS_BYTES = {
    CARD_SUFFIX: MAX_CARD_BYTES,
    ".json": MAX_JSON_BYTES,
    ".png": MAX_PICTURE_BYTES,
    ZIP_SUFFIX: MAX_ATTACHMENT_BYTES,
}


def export_card(personality: Personality) -> tuple[str, bytes]:
    """Return the name and the content of a personality's card as a file."""
    return f"{personality.name}{CARD_SUFFIX}", format_card(personality.card).encode()


async def version_file(services: Services, personality: Personality, version: str, limit_bytes: int) -> discord.File:
    """Return a version as a zip file; raises UserFacingError for the base, and for files over the limit."""
    name, packed = await pack_version(services, personality, version)
    if len(packed) > limit_bytes:
        raise UserFacingError(
            "That export is {size} MB, more than Discord accepts here. The operator can run "
            "`reactune personality export {name} FOLDER`.",
            size=round(len(packed) / 1e6),
            name=personality.name,
        )
    return discord.File(BytesIO(packed), name)


async def pack_version(services: Services, personality: Personality, version: str) -> tuple[str, bytes]:
    """Return the name and the content of a version's zip file; raises UserFacingError for the base."""

    def read(session: Session) -> Provenance | None:
        found = version_named(session, personality.id, version)
        return read_provenance(session, personality, found, services.settings) if found else None

    origin = await services.database.read(read)
    if origin is None:
        raise UserFacingError("The base model has no adapter to export: choose a version such as v1.")
    packed = await asyncio.to_thread(zip_version, services.adapters, services.base, origin)
    return f"{personality.name}-{origin.versions[0].name}.zip", packed


async def import_attachment(
    interaction: discord.Interaction, services: Services, file: discord.Attachment, name: str | None
) -> ImportedPersonality:
    """Import a card or an exported version; raises UserFacingError or StorageError."""
    _require_importable(file)
    content = await fetch_file(file, MAX_ATTACHMENT_BYTES, timeout_s=IMPORT_S)
    request = ImportRequest(
        user_label(interaction.user),
        services.settings.model.base,
        name or "",
        interaction.guild_id,
        may_change=lambda personality: require_own(services, personality, {interaction.guild_id or 0}),
    )

    def run() -> ImportedPersonality:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / Path(file.filename).name
            path.write_bytes(content)
            return import_personality_file(services.database, services.adapters, services.base, path, request)

    return await asyncio.to_thread(run)


def _require_importable(file: discord.Attachment) -> None:
    """Raise UserFacingError if the file is of another type, or too large to download."""
    limit = LIMITS_BYTES.get(Path(file.filename).suffix.lower())
    if limit is None:
        cards = ", ".join(CARD_SUFFIXES)
        raise UserFacingError(
            "{filename} is neither a card ({cards}) nor an export ({zip}).",
            filename=file.filename,
            cards=cards,
            zip=ZIP_SUFFIX,
        )
    if file.size > limit:
        if limit == MAX_ATTACHMENT_BYTES:
            raise UserFacingError(
                "{filename} is larger than {limit} MB. The operator can run `reactune personality import`.",
                filename=file.filename,
                limit=limit // 1_000_000,
            )
        raise UserFacingError(
            "{filename} is larger than {limit} kB, the limit for a card. Shorten it.",
            filename=file.filename,
            limit=limit // 1_000,
        )
