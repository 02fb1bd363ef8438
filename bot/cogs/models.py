"""`/model`: status, list, show, lineage and report; its base classes have train, promote, rollback and compare."""

from __future__ import annotations

import asyncio
from io import BytesIO

import discord
from discord import app_commands
from discord.ext import commands

from bot.charts.report import describe_report, draw_report
from bot.cogs.comparison import ComparisonCommand
from bot.cogs.promotion import PromotionCommands
from bot.cogs.rounds import ProgressMessages, RoundCommand
from bot.guards.access import require_admin
from bot.personalities.selection import VERSION, WHOSE, chosen_personality, offer_personalities, offer_versions, signed
from bot.services import Services
from bot.text.lineage import lineage_lines, lineage_text
from bot.text.releases import describe_status, describe_version, describe_versions
from bot.text.splitting import MAX_MESSAGE_CHARS, answer_in_full, fit_lines
from storage.database.columns import utc_now
from storage.insights.lineage import lineage_of
from storage.insights.model_status import read_model_status, read_version, read_versions
from storage.insights.report import read_report

OLDER = "… {left} older ones: `reactune model list`"


@app_commands.guild_only()
@app_commands.default_permissions(manage_guild=True)
class Models(
    RoundCommand,
    PromotionCommands,
    ComparisonCommand,
    commands.GroupCog,
    group_name="model",
    group_description="Watch, train, promote and roll back",
):
    def __init__(self, bot: commands.AutoShardedBot, services: Services) -> None:
        self.services = services
        self.progress = ProgressMessages(bot, services)

    async def cog_load(self) -> None:
        self.progress.start()

    async def cog_unload(self) -> None:
        self.progress.stop()

    async def interaction_check(self, interaction: discord.Interaction, /) -> bool:
        require_admin(interaction.user, self.services.settings.discord)
        return True

    @app_commands.command()
    @app_commands.describe(personality=WHOSE)
    @app_commands.autocomplete(personality=offer_personalities)
    async def status(self, interaction: discord.Interaction, personality: str | None = None) -> None:
        """Show which version answers, what there is to learn from, and the latest round."""
        await interaction.response.defer(ephemeral=True)
        services = self.services
        whose = await chosen_personality(services, interaction, personality)
        await services.releases.current(whose.id)  # finds out whether the champion's files are sound
        status = await services.database.read(
            read_model_status, whose.id, services.settings, base_revision=services.base.revision
        )
        text = describe_status(
            status,
            services.settings,
            base_name=services.base.name,
            problem=services.releases.problem_of(whose.id),
            learns_from_all=services.fixed_basis is not None,
        )
        await interaction.followup.send(signed(whose, text)[:MAX_MESSAGE_CHARS], ephemeral=True)

    @app_commands.command(name="list")
    @app_commands.describe(personality=WHOSE)
    @app_commands.autocomplete(personality=offer_personalities)
    async def list_all(self, interaction: discord.Interaction, personality: str | None = None) -> None:
        """List the versions with their votes."""
        await interaction.response.defer(ephemeral=True)
        whose = await chosen_personality(self.services, interaction, personality)
        text = describe_versions(await self.services.database.read(read_versions, whose.id))
        await interaction.followup.send(fit_lines(signed(whose, text).split("\n"), OLDER), ephemeral=True)

    @app_commands.command()
    @app_commands.describe(version=VERSION, personality=WHOSE)
    @app_commands.autocomplete(version=offer_versions, personality=offer_personalities)
    async def show(self, interaction: discord.Interaction, version: str, personality: str | None = None) -> None:
        """Show where a version comes from, and its measurements."""
        await interaction.response.defer(ephemeral=True)
        whose = await chosen_personality(self.services, interaction, personality)
        details = await self.services.database.read(read_version, whose.id, version)
        base = self.services.base
        of_base = f"**base** · {base.name} ({base.revision}), without an adapter."
        text = describe_version(details) if details else of_base
        await interaction.followup.send(signed(whose, text)[:MAX_MESSAGE_CHARS], ephemeral=True)

    @app_commands.command()
    @app_commands.describe(version=VERSION, personality=WHOSE)
    @app_commands.autocomplete(version=offer_versions, personality=offer_personalities)
    async def lineage(self, interaction: discord.Interaction, version: str, personality: str | None = None) -> None:
        """Show which rounds, votes and people made a version."""
        await interaction.response.defer(ephemeral=True)
        whose = await chosen_personality(self.services, interaction, personality)
        found = await self.services.database.read(lineage_of, whose.id, version)
        file = f"lineage-{found.version if found else version}.txt"
        await answer_in_full(interaction, lineage_lines(found), lineage_text(found), file)

    @app_commands.command()
    @app_commands.describe(personality=WHOSE)
    @app_commands.autocomplete(personality=offer_personalities)
    async def report(self, interaction: discord.Interaction, personality: str | None = None) -> None:
        """Post a picture: approval, votes, pairs, training and the gate."""
        await interaction.response.defer()
        whose = await chosen_personality(self.services, interaction, personality)
        report = await self.services.database.read(read_report, whose.id, utc_now())
        picture = await asyncio.to_thread(draw_report, report, whose.name)
        words = signed(whose, describe_report(report))
        file = discord.File(BytesIO(picture), "report.png", description=words.replace("**", ""))
        await interaction.edit_original_response(content=words, attachments=[file])


async def setup(bot: commands.AutoShardedBot, services: Services) -> None:
    await bot.add_cog(Models(bot, services))
