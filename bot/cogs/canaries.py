"""`/model canary`; canaries are evaluated and announced in the background."""

from __future__ import annotations

import logging

import discord
from discord import app_commands
from discord.ext import commands

from bot.guards.access import require_admin, user_label
from bot.guards.audit import run_audited, run_audited_action
from bot.personalities.selection import (
    REASON,
    VERSION,
    WHOSE,
    administered_personality,
    chosen_personality,
    offer_personalities,
    offer_versions,
    signed,
)
from bot.releases.announcer import CanaryEvaluator, ReleaseAnnouncer
from bot.services import Services
from bot.text.releases import describe_canary
from bot.text.splitting import MAX_MESSAGE_CHARS
from storage.database.columns import utc_now
from storage.releases.canaries import stop_canary
from storage.releases.canary_votes import read_canary_state
from storage.releases.promotion import ReleaseRequest, try_version

log = logging.getLogger(__name__)


class CanaryCommands(app_commands.Group):
    def __init__(self, services: Services) -> None:
        super().__init__(name="canary", description="Try a version on a share of conversations")
        self.services = services

    async def interaction_check(self, interaction: discord.Interaction, /) -> bool:
        require_admin(interaction.user, self.services.settings.discord)
        return True

    @app_commands.command()
    @app_commands.describe(
        version=VERSION,
        share="Share of conversations that it answers, such as 0.1",
        reason=REASON,
        override="Try it although it did not pass the gate; give a reason",
        personality=WHOSE,
    )
    @app_commands.autocomplete(version=offer_versions, personality=offer_personalities)
    async def start(
        self,
        interaction: discord.Interaction,
        version: str,
        *,
        share: app_commands.Range[float, 0.01, 0.99] | None = None,
        reason: str = "",
        override: bool = False,
        personality: str | None = None,
    ) -> None:
        """Let a version answer a share of conversations, until votes decide whether it stays."""
        await interaction.response.defer()
        services = self.services
        whose = await administered_personality(services, interaction, personality)
        request = ReleaseRequest(whose.id, version, reason, override, services.releases.open)
        challenger, canary = await run_audited_action(
            interaction, try_version, request, services.settings.release, share
        )
        log.info("%s started a canary of %s of %s", user_label(interaction.user), challenger.name, whose.name)
        text = (
            f"**{challenger.name}** answers {canary.share:.0%} of conversations from now on. Votes decide whether it "
            "becomes the champion. To watch it: `/model canary status`. To end it: `/model canary stop`."
        )
        await interaction.edit_original_response(content=signed(whose, text))

    @app_commands.command()
    @app_commands.describe(reason=REASON, personality=WHOSE)
    @app_commands.autocomplete(personality=offer_personalities)
    async def stop(self, interaction: discord.Interaction, reason: str = "", personality: str | None = None) -> None:
        """End the canary: the champion answers everywhere."""
        await interaction.response.defer()
        whose = await administered_personality(self.services, interaction, personality)
        by = user_label(interaction.user)
        await run_audited(interaction, stop_canary, whose.id, by=by, reason=reason)
        log.info("%s stopped the canary of %s", by, whose.name)
        release = await self.services.releases.current(whose.id)
        text = f"The canary was stopped: **{release.name}** answers everywhere."
        await interaction.edit_original_response(content=signed(whose, text))

    @app_commands.command()
    @app_commands.describe(personality=WHOSE)
    @app_commands.autocomplete(personality=offer_personalities)
    async def status(self, interaction: discord.Interaction, personality: str | None = None) -> None:
        """Compare the canary's votes with the champion's."""
        await interaction.response.defer(ephemeral=True)
        whose = await chosen_personality(self.services, interaction, personality)
        state = await self.services.database.read(read_canary_state, whose.id, self.services.settings.votes)
        text = signed(whose, describe_canary(state, utc_now()))
        await interaction.followup.send(text[:MAX_MESSAGE_CHARS], ephemeral=True)


class Canaries(commands.Cog):
    def __init__(self, bot: commands.AutoShardedBot, services: Services) -> None:
        self.bot = bot
        self._commands = CanaryCommands(services)
        self._evaluator = CanaryEvaluator(services)
        services.release_watcher.subscribe(ReleaseAnnouncer(bot, services))

    async def cog_load(self) -> None:
        model = self.bot.tree.get_command("model")
        assert isinstance(model, app_commands.Group), "bot.cogs.models is loaded first"
        model.add_command(self._commands)
        self._evaluator.start()

    async def cog_unload(self) -> None:
        self._evaluator.stop()  # the commands are removed with the group that they belong to


async def setup(bot: commands.AutoShardedBot, services: Services) -> None:
    await bot.add_cog(Canaries(bot, services))
