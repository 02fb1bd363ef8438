"""Lets members see, take along and decide about what is kept of them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from io import BytesIO

import discord
from discord import app_commands
from discord.ext import commands

from bot.guards.error_handler import answer_privately
from bot.privacy.buttons import OUTSIDE_DISCORD, PrivacyAction, PrivacyButton, allow, buttons, describe_member
from bot.privacy.export_files import pack
from bot.services import Services
from storage.privacy.consent import withdraw_consent
from storage.privacy.member_data import export_member

log = logging.getLogger(__name__)

DENIED = "Done. No coming round will train on answers to your messages in Discord."
SENT = "Sent: everything I keep of you is in a file in our direct messages. It says how it is to be read."
NOT_SENT = (
    "Your direct messages are closed to me, so the file is here, where only you see it. It goes when you restart "
    "Discord: save it now."
)
CONFIRM = (
    "Delete everything that I keep of you, in every server? That is your words with the answers to them, your votes, "
    "suggestions and notes, and documents and summaries made of your messages. It cannot be undone."
)
FILES_AT_ONCE = 10  # Discord's limit


class Privacy(commands.GroupCog, group_name="privacy", group_description="What is kept of you, and trained on"):
    def __init__(self, bot: commands.AutoShardedBot, services: Services) -> None:
        self.bot = bot
        self.services = services

    async def cog_load(self) -> None:
        self.bot.add_dynamic_items(PrivacyButton)

    async def cog_unload(self) -> None:
        self.bot.remove_dynamic_items(PrivacyButton)

    @app_commands.command()
    async def show(self, interaction: discord.Interaction) -> None:
        """Show what is kept of you, what may be trained on, and why."""
        await interaction.response.defer(ephemeral=True)
        await answer_privately(interaction, await describe_member(self.services, interaction.user.id))

    @app_commands.command(name="opt-in")
    async def opt_in(self, interaction: discord.Interaction) -> None:
        """Allow training on answers to your messages, from now on."""
        await interaction.response.defer(ephemeral=True)
        await answer_privately(interaction, await allow(self.services, interaction.user.id))

    @app_commands.command(name="opt-out")
    async def opt_out(self, interaction: discord.Interaction) -> None:
        """Do not train on answers to your messages, earlier ones included."""
        await interaction.response.defer(ephemeral=True)
        await self.services.database.run(withdraw_consent, interaction.user.id)
        await answer_privately(interaction, OUTSIDE_DISCORD if self.services.fixed_basis else DENIED)

    @app_commands.command()
    async def export(self, interaction: discord.Interaction) -> None:
        """Get everything that is kept of you as a file, in a direct message."""
        await interaction.response.defer(ephemeral=True, thinking=True)
        user = interaction.user
        export = await self.services.database.read(export_member, user.id)
        files = await asyncio.to_thread(pack, export, discord.utils.DEFAULT_FILE_SIZE_LIMIT_BYTES)
        try:
            for some in _by_tens(files):
                await user.send("Everything that I keep of you.", files=_attach(some))
        except discord.Forbidden:
            for some in _by_tens(files):
                await interaction.followup.send(NOT_SENT, files=_attach(some), ephemeral=True)
            return
        await answer_privately(interaction, SENT)

    @app_commands.command()
    async def delete(self, interaction: discord.Interaction) -> None:
        """Delete everything that is kept of you; you are asked once more."""
        await interaction.response.defer(ephemeral=True)
        await answer_privately(interaction, CONFIRM, buttons(PrivacyAction.DELETE, PrivacyAction.KEEP))


def _by_tens(files: Sequence[tuple[str, bytes]]) -> list[Sequence[tuple[str, bytes]]]:
    return [files[start : start + FILES_AT_ONCE] for start in range(0, len(files), FILES_AT_ONCE)]


def _attach(files: Sequence[tuple[str, bytes]]) -> list[discord.File]:
    return [discord.File(BytesIO(content), name) for name, content in files]


async def setup(bot: commands.AutoShardedBot, services: Services) -> None:
    await bot.add_cog(Privacy(bot, services))
