"""Members' better answers, their reasons against an answer, and the fate of their votes."""

from __future__ import annotations

from collections.abc import Collection

import discord
from discord import app_commands
from discord.ext import commands
from sqlalchemy.orm import Session

from bot.chat.context import FIXED, is_from_documents, require_written
from bot.chat.feedback_forms import CauseForm, SuggestionForm, WithdrawButton
from bot.errors import UserFacingError
from bot.guards.error_handler import NOT_MINE, answer_privately
from bot.guards.interactions import BotCog, button_row
from bot.localization.languages import languages_of
from bot.localization.sentences import gettext
from bot.services import Services
from bot.text.lineage import EXCERPT_CHARS, as_plain_text, describe_outcome, outcome_lines
from bot.text.sanitize import escape_inline
from bot.text.splitting import answer_in_full, fit_lines
from storage.conversations.replies import Reply, find_by_message, latest_in_channel
from storage.database.enums import Cause, Origin
from storage.insights.vote_outcomes import VoteOutcome, replies_on_message, vote_outcomes
from storage.votes import corrections
from storage.wording import gettext_noop, shorten


class Feedback(BotCog):
    def __init__(self, bot: commands.AutoShardedBot, services: Services) -> None:
        super().__init__(bot, services)
        for name, callback in (
            (gettext_noop("Suggest a better answer"), self.suggest_from_menu),
            (gettext_noop("What is wrong with it?"), self.ask_for_cause),
            (gettext_noop("What became of my vote?"), self.show_vote),
        ):
            bot.tree.add_command(app_commands.ContextMenu(name=name, callback=callback))

    async def suggest_from_menu(self, interaction: discord.Interaction, message: discord.Message) -> None:
        """Write a better answer than this one."""
        reply = await self.services.database.read(find_by_message, message.id)
        await self._open_form(interaction, reply, NOT_MINE)

    @app_commands.command(name="suggest")
    async def suggest_for_latest(self, interaction: discord.Interaction) -> None:
        """Suggest a better answer than the latest one in this channel."""
        channel_id = interaction.channel_id or 0
        reply = await self.services.database.read(latest_in_channel, channel_id)
        await self._open_form(interaction, reply, gettext_noop("I haven't answered anything in this channel yet."))

    async def _open_form(self, interaction: discord.Interaction, reply: Reply | None, otherwise: str) -> None:
        if reply is None or not reply.answer:
            raise UserFacingError(otherwise)
        require_written(reply, languages_of(self.bot))
        author = interaction.user.id
        earlier = await self.services.database.read(corrections.current_correction, reply.id, author)
        draft = earlier.text if earlier else reply.answer
        await interaction.response.send_modal(SuggestionForm(self.services, reply, draft))

    async def ask_for_cause(self, interaction: discord.Interaction, message: discord.Message) -> None:
        """Say what is wrong with an answer."""
        user_id = interaction.user.id

        def read(session: Session) -> tuple[Reply, Cause | None, corrections.Correction | None]:
            reply = find_by_message(session, message.id)
            if reply is None:
                raise UserFacingError(NOT_MINE)
            if reply.origin is Origin.FIXED and not is_from_documents(reply, languages_of(self.bot)):
                raise UserFacingError(FIXED)
            earlier = corrections.current_correction(session, reply.id, user_id)
            return reply, corrections.cause_given_by(session, reply.id, user_id), earlier

        reply, given, earlier = await self.services.database.read(read)
        form = CauseForm(self.services, reply, given, earlier.text if earlier else "")
        await interaction.response.send_modal(form)

    @app_commands.command()
    async def myvotes(self, interaction: discord.Interaction) -> None:
        """See what became of your votes: waiting, trained on, and in which version."""
        await interaction.response.defer(ephemeral=True)
        lines = outcome_lines(await self.services.database.read(self._outcomes, interaction.user.id))
        await answer_in_full(interaction, lines, as_plain_text(lines), "my-votes.txt")

    async def show_vote(self, interaction: discord.Interaction, message: discord.Message) -> None:
        """Show what became of the member's vote on an answer, or on the answers of an arena, and their suggestion."""
        await interaction.response.defer(ephemeral=True)
        outcomes, suggested = await self.services.database.read(self._said_on, interaction.user.id, message.id)
        lines = [describe_outcome(outcome) for outcome in outcomes] or [gettext("You have not voted on that answer.")]
        view = None
        if suggested is not None:
            excerpt = shorten(" ".join(suggested.text.split()), EXCERPT_CHARS)
            lines.insert(0, gettext("You suggested: “{text}”", text=escape_inline(excerpt)))
            view = button_row([WithdrawButton(suggested.id)])
        await answer_privately(interaction, fit_lines(lines, "-# " + gettext("… and {left} more: `/myvotes`")), view)

    def _said_on(
        self, session: Session, user_id: int, message_id: int
    ) -> tuple[list[VoteOutcome], corrections.Correction | None]:
        """Return what became of the member's votes on the answers of a message, and their suggestion for one."""
        replies = replies_on_message(session, message_id)
        if not replies:
            raise UserFacingError(NOT_MINE)
        suggested = (corrections.current_correction(session, reply_id, user_id) for reply_id in replies)
        return self._outcomes(session, user_id, replies), next(filter(None, suggested), None)

    def _outcomes(self, session: Session, user_id: int, reply_ids: Collection[int] | None = None) -> list[VoteOutcome]:
        return vote_outcomes(
            session,
            user_id,
            settings=self.services.settings,
            base_revision=self.services.base.revision,
            reply_ids=reply_ids,
        )
