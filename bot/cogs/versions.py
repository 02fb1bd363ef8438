"""`/version`: versions, training and promotion."""

from __future__ import annotations

import asyncio
import logging
from typing import Literal

import discord
from discord import app_commands
from discord.ext import commands

from bot.arenas.latest import ArenasButton
from bot.cogs.taste import SwitchOffButton
from bot.errors import UserFacingError
from bot.guards.access import user_label
from bot.guards.audit import action_of, run_audited_action
from bot.guards.interactions import AdminCog, button_row, defer_publicly
from bot.personalities.selection import (
    REASON,
    VERSION_OR_BASE,
    WHOSE,
    administered_personality,
    chosen_personality,
    offer_personalities,
    offer_usable_versions,
    offer_versions,
    signed,
)
from bot.releases.announcer import ReleaseAnnouncer
from bot.releases.comparison import choose_prompts, open_two, show_comparison
from bot.releases.judge import Judge
from bot.releases.progress_messages import ProgressMessages, request_shown_round
from bot.releases.version_pages import ReportButton, answer_with_version, answer_with_version_list, read_status_blocks
from bot.releases.weekly import WeeklyMessages
from bot.services import Services
from bot.text.panels import text_panel
from bot.text.releases import before_after_embeds, describe_promotion, describe_rollback
from storage.conversations.prompt_bank import MAX_PROMPT_CHARS, read_bank
from storage.database.enums import TrainingSource
from storage.insights.taste_report import read_answering_now
from storage.releases.before_after import compare_answers
from storage.releases.promotion import ReleaseRequest, promote_version, roll_back_champion

log = logging.getLogger(__name__)


class VersionCommands(
    AdminCog, commands.GroupCog, group_name="version", group_description="Watch, train, promote and roll back"
):
    def __init__(self, bot: commands.AutoShardedBot, services: Services) -> None:
        super().__init__(bot, services)
        self._progress = ProgressMessages(bot, services)

    async def cog_load(self) -> None:
        self.services.release_watcher.subscribe(ReleaseAnnouncer(self.bot, self.services))
        self._progress.start()
        Judge(self.services).start()
        await WeeklyMessages(self.bot, self.services).start()

    @app_commands.command()
    @app_commands.describe(personality=WHOSE)
    @app_commands.autocomplete(personality=offer_personalities)
    async def status(self, interaction: discord.Interaction, personality: str | None = None) -> None:
        """Show which version answers, what there is to learn from, and the latest round."""
        await interaction.response.defer(ephemeral=True)
        chosen = await chosen_personality(self.services, interaction, personality)
        blocks = await read_status_blocks(self.services, chosen.id, interaction.user.id)
        blocks[0] = signed(chosen, blocks[0])
        buttons = [ReportButton(chosen.id), ArenasButton()]
        await interaction.edit_original_response(view=text_panel(blocks, buttons=buttons))

    @app_commands.command()
    @app_commands.describe(version="A version such as v3, or base; without it, the list of versions", personality=WHOSE)
    @app_commands.autocomplete(version=offer_versions, personality=offer_personalities)
    async def show(
        self, interaction: discord.Interaction, version: str | None = None, personality: str | None = None
    ) -> None:
        """List the versions with their votes, or show one: its origin, measurements and history."""
        await interaction.response.defer(ephemeral=True)
        chosen = await chosen_personality(self.services, interaction, personality)
        if version is None:
            await answer_with_version_list(interaction, self.services, chosen)
        else:
            await answer_with_version(interaction, self.services, chosen, version)

    @app_commands.command()
    @app_commands.describe(
        a=VERSION_OR_BASE,
        b="Another one",
        prompt="What to ask both; by default, three prompts of the prompt bank",
        personality=WHOSE,
    )
    @app_commands.autocomplete(a=offer_usable_versions, b=offer_usable_versions, personality=offer_personalities)
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
        learn_from="Votes and suggestions (the default), or the example dialogues of the personality's card",
    )
    @app_commands.autocomplete(personality=offer_personalities)
    async def train(
        self,
        interaction: discord.Interaction,
        personality: str | None = None,
        learn_from: Literal["votes", "examples"] = "votes",
    ) -> None:
        """Train a new version on the votes and suggestions so far, or with learn_from on the card's examples."""
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
    @app_commands.autocomplete(version=offer_usable_versions, personality=offer_personalities)
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
