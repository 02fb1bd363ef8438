"""`/version`: versions, training and promotion."""

from __future__ import annotations

import asyncio
import logging
from io import BytesIO
from typing import Literal

import discord
from discord import app_commands
from discord.ext import commands

from bot.charts.report import describe_report, draw_report
from bot.cogs.taste import SwitchOffButton
from bot.errors import UserFacingError
from bot.guards.access import user_label
from bot.guards.audit import action_of, run_audited_action
from bot.guards.error_handler import answer_privately
from bot.guards.interactions import AdminCog, button_row, defer_publicly
from bot.personalities.selection import (
    REASON,
    VERSION,
    VERSION_OR_BASE,
    WHOSE,
    administered_personality,
    chosen_personality,
    offer_personalities,
    offer_versions,
    signed,
)
from bot.releases.announcer import ReleaseAnnouncer
from bot.releases.comparison import choose_prompts, open_two, show_comparison
from bot.releases.judge import Judge
from bot.releases.progress_messages import ProgressMessages, request_shown_round
from bot.releases.weekly import WeeklyMessages
from bot.services import Services
from bot.text.lineage import as_plain_text, lineage_lines
from bot.text.panels import text_panel
from bot.text.releases import (
    before_after_embeds,
    describe_base,
    describe_promotion,
    describe_rollback,
    describe_version,
    describe_versions,
    older_versions,
)
from bot.text.splitting import answer_in_full, fit_lines
from bot.text.status import describe_status
from storage.conversations.prompt_bank import MAX_PROMPT_CHARS, read_bank
from storage.database.columns import utc_now
from storage.database.enums import TrainingSource
from storage.insights.lineage import lineage_of
from storage.insights.model_status import read_model_status, read_version, read_versions
from storage.insights.report import read_report
from storage.insights.taste_report import read_answering_now
from storage.releases.before_after import compare_answers
from storage.releases.promotion import ReleaseRequest, promote_version, roll_back_champion

log = logging.getLogger(__name__)


class VersionCommands(
    AdminCog,
    commands.GroupCog,
    group_name="version",
    group_description="Watch, train, promote and roll back",
):
    def __init__(self, bot: commands.AutoShardedBot, services: Services) -> None:
        super().__init__(bot, services)
        self._progress = ProgressMessages(bot, services)

    async def cog_load(self) -> None:
        self._progress.start()
        Judge(self.services).start()
        await WeeklyMessages(self.bot, self.services).start()

    @app_commands.command()
    @app_commands.describe(personality=WHOSE)
    @app_commands.autocomplete(personality=offer_personalities)
    async def status(self, interaction: discord.Interaction, personality: str | None = None) -> None:
        """Show which version answers, what there is to learn from, and the latest round."""
        await interaction.response.defer(ephemeral=True)
        services = self.services
        chosen = await chosen_personality(services, interaction, personality)
        await services.releases.current(chosen.id)  # finds out whether the champion's files are sound
        status = await services.database.read(
            read_model_status, chosen.id, services.settings, base_revision=services.base.revision
        )
        blocks = describe_status(
            status,
            services.settings,
            base_name=services.base.name,
            engine=services.engine.state(),
            problem=services.releases.problem_of(chosen.id),
            learns_from_all=services.fixed_basis is not None,
            viewer_id=interaction.user.id,
        )
        blocks[0] = signed(chosen, blocks[0])
        await interaction.edit_original_response(view=text_panel(blocks))

    @app_commands.command(name="list")
    @app_commands.describe(personality=WHOSE)
    @app_commands.autocomplete(personality=offer_personalities)
    async def list_all(self, interaction: discord.Interaction, personality: str | None = None) -> None:
        """List the versions with their votes."""
        await interaction.response.defer(ephemeral=True)
        chosen = await chosen_personality(self.services, interaction, personality)
        found = await self.services.database.read(read_versions, chosen.id, self.services.settings)
        text = describe_versions(found)
        await answer_privately(
            interaction,
            fit_lines(signed(chosen, text).split("\n"), older_versions()),
        )

    @app_commands.command()
    @app_commands.describe(version=VERSION, personality=WHOSE)
    @app_commands.autocomplete(version=offer_versions, personality=offer_personalities)
    async def show(self, interaction: discord.Interaction, version: str, personality: str | None = None) -> None:
        """Show where a version comes from, and its measurements."""
        await interaction.response.defer(ephemeral=True)
        chosen = await chosen_personality(self.services, interaction, personality)
        details = await self.services.database.read(read_version, chosen.id, version, self.services.settings)
        base = self.services.base
        of_base = describe_base(base.name, base.revision)
        text = describe_version(details) if details else of_base
        embeds = before_after_embeds(details.compared if details else None)
        await answer_privately(interaction, signed(chosen, text), embeds=embeds)

    @app_commands.command()
    @app_commands.describe(version=VERSION, personality=WHOSE)
    @app_commands.autocomplete(version=offer_versions, personality=offer_personalities)
    async def history(self, interaction: discord.Interaction, version: str, personality: str | None = None) -> None:
        """Show which rounds, votes and members made a version."""
        # It names voters, of all servers.
        await interaction.response.defer(ephemeral=True)
        chosen = await administered_personality(self.services, interaction, personality)
        found = await self.services.database.read(lineage_of, chosen.id, version)
        file = f"history-{found.version if found else version}.txt"
        lines = lineage_lines(found)
        await answer_in_full(interaction, lines, as_plain_text(lines), file)

    @app_commands.command()
    @app_commands.describe(personality=WHOSE)
    @app_commands.autocomplete(personality=offer_personalities)
    async def report(self, interaction: discord.Interaction, personality: str | None = None) -> None:
        """Post a picture: approval, votes, pairs, training and checks."""
        await defer_publicly(interaction)
        chosen = await chosen_personality(self.services, interaction, personality)
        report = await self.services.database.read(read_report, chosen.id, utc_now(), self.services.settings)
        picture = await asyncio.to_thread(draw_report, report, chosen.name)
        words = signed(chosen, describe_report(report))
        alone = words.replace("**", "")  # for people who cannot see the picture
        file = discord.File(BytesIO(picture), "report.png", description=alone)
        await interaction.edit_original_response(view=text_panel([words], file.filename, alone), attachments=[file])

    @app_commands.command()
    @app_commands.describe(
        a=VERSION_OR_BASE,
        b="Another one",
        prompt="What to ask both; by default, three prompts of the prompt bank",
        personality=WHOSE,
    )
    @app_commands.autocomplete(a=offer_versions, b=offer_versions, personality=offer_personalities)
    async def compare(
        self,
        interaction: discord.Interaction,
        a: str,
        b: str,
        prompt: app_commands.Range[str, 1, MAX_PROMPT_CHARS] | None = None,
        personality: str | None = None,
    ) -> None:
        """Ask two versions the same questions, and show their answers side by side."""
        await interaction.response.defer(ephemeral=True)
        chosen = await chosen_personality(self.services, interaction, personality)
        releases = await open_two(self.services, chosen.id, a, b)
        prompts = await asyncio.to_thread(self._prompts_to_compare, prompt)
        await show_comparison(interaction, self.services, chosen, releases, prompts)

    def _prompts_to_compare(self, given: str | None) -> list[str]:
        if given is None:
            return choose_prompts(read_bank(self.services.settings.arena.prompts))
        if not given.strip():
            raise UserFacingError("That prompt is empty: write a question, or leave it out.")
        return [given.strip()]

    @app_commands.command()
    @app_commands.describe(
        personality=WHOSE,
        learn_from="Votes and suggestions, or the example dialogues of the personality's card",
    )
    @app_commands.autocomplete(personality=offer_personalities)
    async def train(
        self,
        interaction: discord.Interaction,
        personality: str | None = None,
        learn_from: Literal["votes", "examples"] = "votes",
    ) -> None:
        """Train a new version on the votes and suggestions so far, or on a card's examples."""
        await defer_publicly(interaction)
        chosen = await administered_personality(self.services, interaction, personality)
        await request_shown_round(interaction, action_of(interaction), chosen, TrainingSource(learn_from))

    @app_commands.command()
    @app_commands.describe(
        version=VERSION_OR_BASE,
        reason=REASON,
        override="Promote it although a check failed or members still compare it; give a reason",
        personality=WHOSE,
    )
    @app_commands.autocomplete(version=offer_versions, personality=offer_personalities)
    async def promote(
        self,
        interaction: discord.Interaction,
        version: str,
        reason: str = "",
        override: bool = False,
        personality: str | None = None,
    ) -> None:
        """Make a version the one that answers."""
        await defer_publicly(interaction)
        chosen = await administered_personality(self.services, interaction, personality)
        request = ReleaseRequest(chosen.id, version, reason, override, self.services.releases.open)
        move = await run_audited_action(interaction, promote_version, request)
        before, after = move.before.target, move.after.target
        log.info("%s promoted %s of %s (before: %s)", user_label(interaction.user), after, chosen.name, before)
        text = describe_promotion(after, before)
        compared = await self.services.database.read(compare_answers, move.before.version, move.after.version)
        await interaction.edit_original_response(content=signed(chosen, text), embeds=before_after_embeds(compared))

    @app_commands.command()
    @app_commands.describe(reason=REASON, personality=WHOSE)
    @app_commands.autocomplete(personality=offer_personalities)
    async def rollback(
        self, interaction: discord.Interaction, reason: str = "", personality: str | None = None
    ) -> None:
        """Go back to the version that answered before."""
        await defer_publicly(interaction)
        chosen = await administered_personality(self.services, interaction, personality)
        move = await run_audited_action(interaction, roll_back_champion, chosen.id, reason)
        before, after = move.before.target, move.after.target
        log.info("%s rolled back %s from %s to %s", user_label(interaction.user), chosen.name, before, after)
        now = await self.services.database.read(read_answering_now, chosen.id, self.services.settings)
        text = signed(chosen, describe_rollback(after, before, now))
        view = button_row([SwitchOffButton(chosen.id)]) if now.taste_acts else None
        await interaction.edit_original_response(content=text, view=view)


async def setup(bot: commands.AutoShardedBot, services: Services) -> None:
    services.release_watcher.subscribe(ReleaseAnnouncer(bot, services))
    await bot.add_cog(VersionCommands(bot, services))
