"""`/personality export` and `import`: cards and versions."""

from __future__ import annotations

import logging
from io import BytesIO

import discord
from discord import app_commands
from discord.ext import commands

from bot.guards.access import user_label
from bot.knowledge.lorebook import add_lorebook
from bot.localization.sentences import gettext, translated
from bot.personalities.card_files import export_card, import_attachment, version_file
from bot.personalities.selection import offer_personalities
from bot.services import Services
from bot.text.rounds import describe_import
from bot.text.sanitize import escape_inline
from bot.text.splitting import answer_in_full
from storage.models.personality_imports import ImportedPersonality
from storage.personalities.personalities import personality_named

log = logging.getLogger(__name__)


class CardFiles(commands.Cog):
    services: Services

    @app_commands.command(name="export")
    @app_commands.describe(
        personality="The personality to export",
        version="A version such as v3, to export with its adapter",
    )
    @app_commands.autocomplete(personality=offer_personalities)
    async def export_personality(
        self, interaction: discord.Interaction, personality: str, version: str | None = None
    ) -> None:
        """Get a personality's card as a file, or one of its versions as a zip file."""
        await interaction.response.defer(ephemeral=True)
        found = await self.services.database.read(personality_named, personality, interaction.guild_id)
        if version is None:
            name, content = export_card(found)
            file = discord.File(BytesIO(content), name)
            text = gettext(
                "The card of **{name}**. Import it with `/personality import`, or put it into a `personalities` "
                "folder.",
                name=found.name,
            )
        else:
            file = await version_file(self.services, found, version, interaction.filesize_limit)
            text = gettext(
                "**{name}** as a peft adapter. Import it with `/personality import`; its README.md says how it was "
                "trained.",
                name=found.name,
            )
        await interaction.followup.send(text, file=file, ephemeral=True)

    @app_commands.command(name="import")
    @app_commands.describe(
        file="A card (.toml), a SillyTavern card (.json, .png), or a zip file from `/personality export`",
        name="The personality's name; without it, the card's or the file's name",
    )
    async def import_personality(
        self, interaction: discord.Interaction, file: discord.Attachment, name: str | None = None
    ) -> None:
        """Import a card, or an exported version as a new version."""
        await interaction.response.defer(ephemeral=True)
        imported = await import_attachment(interaction, self.services, file, name)
        log.info("%s imported %s into %s.", user_label(interaction.user), file.filename, imported.personality.name)
        lines = [describe_import(imported), *(escape_inline(translated(note)) for note in imported.notes)]
        if imported.lorebook:
            lines.append(await self._add_lorebook(interaction, imported))
        await answer_in_full(interaction, lines, "\n".join(lines), "import.txt")

    async def _add_lorebook(self, interaction: discord.Interaction, imported: ImportedPersonality) -> str:
        return await add_lorebook(
            self.services.library,
            self.services.settings.knowledge,
            imported,
            guild_id=interaction.guild_id or 0,
            added_by=user_label(interaction.user),
        )
