"""Personalities as files: exports a card or a version, and imports them."""

from __future__ import annotations

import asyncio
import tempfile
from io import BytesIO
from pathlib import Path

import discord
from sqlalchemy.orm import Session

from bot.errors import UserFacingError
from bot.guards.access import user_label
from bot.personalities.selection import require_own
from bot.services import Services
from storage.models.personality_export import Provenance, read_provenance, zip_version
from storage.models.personality_import import ImportedPersonality, import_personality_file
from storage.personalities.cards import MAX_CARD_BYTES, format_card
from storage.personalities.personalities import CARD_SUFFIX, Personality
from storage.releases.versions import version_named

MAX_ATTACHMENT_BYTES = 100_000_000


def card_file(personality: Personality) -> discord.File:
    return discord.File(BytesIO(format_card(personality.card).encode()), f"{personality.name}{CARD_SUFFIX}")


async def version_file(services: Services, personality: Personality, version: str, limit_bytes: int) -> discord.File:
    """Return a version as a zip file; raises UserFacingError for the base, and for files over the limit."""

    def read(session: Session) -> Provenance | None:
        found = version_named(session, personality.id, version)
        return read_provenance(session, personality, found, services.settings) if found else None

    origin = await services.database.read(read)
    if origin is None:
        raise UserFacingError("The base model has no adapter to export: choose a version such as v1.")
    packed = await asyncio.to_thread(zip_version, services.adapters, services.base, origin)
    if len(packed) > limit_bytes:
        raise UserFacingError(
            f"That export is {len(packed) / 1e6:.0f} MB, more than Discord accepts here. The operator can run "
            f"`reactune personality export {personality.name} FOLDER`."
        )
    return discord.File(BytesIO(packed), f"{personality.name}-{origin.versions[0].name}.zip")


async def import_attachment(
    interaction: discord.Interaction, services: Services, file: discord.Attachment, name: str | None
) -> ImportedPersonality:
    """Import a card or an exported version; raises UserFacingError or StorageError."""
    _require_importable(file)
    content = await file.read()

    def run() -> ImportedPersonality:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / Path(file.filename).name
            path.write_bytes(content)
            return import_personality_file(
                services.database,
                services.adapters,
                services.base,
                path,
                name=name or path.stem,
                model_base=services.settings.model.base,
                by=user_label(interaction.user),
                guild_id=interaction.guild_id,
                may_change=lambda personality: require_own(services, interaction, personality),
            )

    return await asyncio.to_thread(run)


def _require_importable(file: discord.Attachment) -> None:
    """Raise UserFacingError if the file is of another type, or too large to download."""
    is_card = file.filename.endswith(CARD_SUFFIX)
    if not is_card and not file.filename.endswith(".zip"):
        raise UserFacingError(f"{file.filename} is neither a card (.toml) nor an export (.zip).")
    limit = MAX_CARD_BYTES if is_card else MAX_ATTACHMENT_BYTES
    if file.size > limit:
        raise UserFacingError(
            f"{file.filename} is larger than {limit // 1_000_000} MB. The operator can run "
            "`reactune personality import`."
        )
