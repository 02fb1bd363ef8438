"""`/privacy`: members see, export and delete what is stored about them, and decide about training."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from io import BytesIO

import discord
from discord import app_commands
from discord.ext import commands

from bot.guards.error_handler import answer_privately
from bot.privacy.notices import PrivacyAction, PrivacyButton, buttons, describe_member, describe_opt_out, opt_in, pack
from bot.services import Services
from storage.privacy.consent import withdraw_consent
from storage.privacy.member_data import export_member

EXPORT = "Here is everything I store about you."
SENT = "I sent you everything I store about you as a direct message. The file explains how to read it."
NOT_SENT = (
    "I can't send you direct messages, so here is everything I store about you. Only you can see it. Save the file "
    "now: it disappears when you restart Discord."
)
CONFIRM = (
    "Delete everything I store about you, in every server? That includes answers based on your messages, your votes, "
    "suggested answers and notes, and documents and summaries made from your messages. This can't be undone."
)
FILES_AT_ONCE = 10  # Discord's limit


class Privacy(commands.GroupCog, group_name="privacy", group_description="Your data: see, export or delete it"):
    def __init__(self, bot: commands.AutoShardedBot, services: Services) -> None:
        self.bot = bot
        self.services = services

    async def cog_load(self) -> None:
        self.bot.add_dynamic_items(PrivacyButton)

    async def cog_unload(self) -> None:
        self.bot.remove_dynamic_items(PrivacyButton)

    @app_commands.command()
    async def show(self, interaction: discord.Interaction) -> None:
        """Show what is stored about you, and what may be used for training."""
        await interaction.response.defer(ephemeral=True)
        await answer_privately(interaction, await describe_member(self.services, interaction.user.id))

    @app_commands.command(name="opt-in")
    async def opt_in(self, interaction: discord.Interaction) -> None:
        """Allow training on answers to your messages from now on."""
        await interaction.response.defer(ephemeral=True)
        await answer_privately(interaction, await opt_in(self.services, interaction.user.id))

    @app_commands.command(name="opt-out")
    async def opt_out(self, interaction: discord.Interaction) -> None:
        """Forbid training on answers to your messages, earlier ones included."""
        await interaction.response.defer(ephemeral=True)
        had_opted_in = await self.services.database.run(withdraw_consent, interaction.user.id)
        on_discord = self.services.fixed_basis is None
        await answer_privately(interaction, describe_opt_out(had_opted_in=had_opted_in, on_discord=on_discord))

    @app_commands.command()
    async def export(self, interaction: discord.Interaction) -> None:
        """Get everything stored about you as a file, in a direct message."""
        await interaction.response.defer(ephemeral=True, thinking=True)
        user = interaction.user
        export = await self.services.database.read(export_member, user.id)
        files = await asyncio.to_thread(pack, export, discord.utils.DEFAULT_FILE_SIZE_LIMIT_BYTES)
        if self.services.fixed_basis is not None:
            await _attach_privately(interaction, EXPORT, files)  # outside Discord there may be no direct messages
            return
        try:
            for batch in _batches(files):
                await user.send(EXPORT, files=_attachments(batch))
        except discord.Forbidden:
            await _attach_privately(interaction, NOT_SENT, files)
            return
        await answer_privately(interaction, SENT)

    @app_commands.command()
    async def delete(self, interaction: discord.Interaction) -> None:
        """Delete everything stored about you; asks before it does."""
        await interaction.response.defer(ephemeral=True)
        await answer_privately(interaction, CONFIRM, buttons(PrivacyAction.DELETE, PrivacyAction.KEEP))


async def _attach_privately(interaction: discord.Interaction, text: str, files: Sequence[tuple[str, bytes]]) -> None:
    for batch in _batches(files):
        await interaction.followup.send(text, files=_attachments(batch), ephemeral=True)


def _batches(files: Sequence[tuple[str, bytes]]) -> list[Sequence[tuple[str, bytes]]]:
    return [files[start : start + FILES_AT_ONCE] for start in range(0, len(files), FILES_AT_ONCE)]


def _attachments(files: Sequence[tuple[str, bytes]]) -> list[discord.File]:
    return [discord.File(BytesIO(content), name) for name, content in files]


async def setup(bot: commands.AutoShardedBot, services: Services) -> None:
    await bot.add_cog(Privacy(bot, services))
