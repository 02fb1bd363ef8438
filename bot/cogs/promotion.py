"""`/model promote` and `/model rollback`."""

from __future__ import annotations

import logging

import discord
from discord import app_commands
from discord.ext import commands

from bot.guards.access import user_label
from bot.guards.audit import run_audited_action
from bot.personalities.selection import (
    REASON,
    VERSION_OR_BASE,
    WHOSE,
    administered_personality,
    offer_personalities,
    offer_versions,
    signed,
)
from bot.services import Services
from storage.releases.promotion import ReleaseRequest, promote_version, roll_back_champion

log = logging.getLogger(__name__)


class PromotionCommands(commands.Cog):
    services: Services

    @app_commands.command()
    @app_commands.describe(
        version=VERSION_OR_BASE,
        reason=REASON,
        override="Promote it although it did not pass the gate; give a reason",
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
        await interaction.response.defer()
        whose = await administered_personality(self.services, interaction, personality)
        request = ReleaseRequest(whose.id, version, reason, override, self.services.releases.open)
        move = await run_audited_action(interaction, promote_version, request)
        before, after = move.before.target, move.after.target
        log.info("%s promoted %s of %s (before: %s)", user_label(interaction.user), after, whose.name, before)
        text = f"**{after}** answers from now on (before: {before}). To undo this: `/model rollback`."
        await interaction.edit_original_response(content=signed(whose, text))

    @app_commands.command()
    @app_commands.describe(reason=REASON, personality=WHOSE)
    @app_commands.autocomplete(personality=offer_personalities)
    async def rollback(
        self, interaction: discord.Interaction, reason: str = "", personality: str | None = None
    ) -> None:
        """Go back to the version that answered before."""
        await interaction.response.defer()
        whose = await administered_personality(self.services, interaction, personality)
        move = await run_audited_action(interaction, roll_back_champion, whose.id, reason)
        before, after = move.before.target, move.after.target
        log.info("%s rolled back %s from %s to %s", user_label(interaction.user), whose.name, before, after)
        text = f"Rolled back: **{after}** answers again. `/model promote {before}` brings {before} back."
        await interaction.edit_original_response(content=signed(whose, text))
