"""`/taste`: what a personality's people like, in words and a picture."""

from __future__ import annotations

import asyncio
from io import BytesIO

import discord
from discord import app_commands
from discord.ext import commands

from bot.charts.taste import draw_taste
from bot.guards.interactions import AdminCog
from bot.personalities import selection
from bot.services import Services
from bot.text.panels import MAX_PANEL_CHARS, text_panel
from bot.text.splitting import fit_lines
from bot.text.taste import describe_picture, taste_lines
from storage.database.columns import utc_now
from storage.insights.taste_report import read_taste_report
from storage.insights.visibility import in_server


class Taste(AdminCog):
    @app_commands.command()
    @app_commands.guild_only()
    @app_commands.default_permissions(manage_guild=True)
    @app_commands.describe(personality=selection.WHOSE)
    @app_commands.autocomplete(personality=selection.offer_personalities)
    async def taste(self, interaction: discord.Interaction, personality: str | None = None) -> None:
        """Show what people like, how sure that is, and answers that show it."""
        await interaction.response.defer(ephemeral=True)
        chosen = await selection.chosen_personality(self.services, interaction, personality)
        report = await self.services.database.read(
            read_taste_report, chosen.id, self.services.settings, in_server(interaction.guild_id or 0)
        )
        picture = await asyncio.to_thread(draw_taste, report, chosen.name, utc_now())
        lines = selection.signed(chosen, "\n".join(taste_lines(report))).split("\n")
        text, alone = fit_lines(lines, "…", MAX_PANEL_CHARS), describe_picture(report)
        file = discord.File(BytesIO(picture), "taste.png", description=alone)
        await interaction.edit_original_response(view=text_panel([text], file.filename, alone), attachments=[file])


async def setup(bot: commands.AutoShardedBot, services: Services) -> None:
    await bot.add_cog(Taste(bot, services))
