"""`/myvotes` and its menu: what became of a member's own votes."""

from __future__ import annotations

from collections.abc import Collection

import discord
from discord import app_commands
from discord.ext import commands
from sqlalchemy.orm import Session

from bot.errors import UserFacingError
from bot.guards.error_handler import NOT_MINE, answer_privately
from bot.services import Services
from bot.text.lineage import describe_outcome, outcome_lines, outcome_text
from bot.text.splitting import answer_in_full, fit_lines
from storage.insights.vote_outcomes import VoteOutcome, replies_on_message, vote_outcomes

NOT_VOTED = "You have not voted on that answer."


class MyVotes(commands.Cog):
    def __init__(self, bot: commands.AutoShardedBot, services: Services) -> None:
        self.bot = bot
        self.services = services
        self._menu = app_commands.ContextMenu(name="What became of my vote?", callback=self.show_one)

    async def cog_load(self) -> None:
        self.bot.tree.add_command(self._menu)

    async def cog_unload(self) -> None:
        self.bot.tree.remove_command(self._menu.name, type=self._menu.type)

    @app_commands.command()
    async def myvotes(self, interaction: discord.Interaction) -> None:
        """See what became of your votes: waiting, trained on, and in which version."""
        await interaction.response.defer(ephemeral=True)
        outcomes = await self.services.database.read(self._outcomes, interaction.user.id)
        await answer_in_full(interaction, outcome_lines(outcomes), outcome_text(outcomes), "my-votes.txt")

    async def show_one(self, interaction: discord.Interaction, message: discord.Message) -> None:
        """Show what became of the member's vote on an answer, or on the answers of an arena."""
        await interaction.response.defer(ephemeral=True)
        outcomes = await self.services.database.read(self._outcomes_on, interaction.user.id, message.id)
        lines = [describe_outcome(outcome) for outcome in outcomes] or [NOT_VOTED]
        await answer_privately(interaction, fit_lines(lines, "-# … and {left} more: `/myvotes`"))

    def _outcomes_on(self, session: Session, user_id: int, message_id: int) -> list[VoteOutcome]:
        replies = replies_on_message(session, message_id)
        if not replies:
            raise UserFacingError(NOT_MINE)
        return self._outcomes(session, user_id, replies)

    def _outcomes(self, session: Session, user_id: int, reply_ids: Collection[int] | None = None) -> list[VoteOutcome]:
        return vote_outcomes(
            session,
            user_id,
            settings=self.services.settings,
            base_revision=self.services.base.revision,
            reply_ids=reply_ids,
        )


async def setup(bot: commands.AutoShardedBot, services: Services) -> None:
    await bot.add_cog(MyVotes(bot, services))
