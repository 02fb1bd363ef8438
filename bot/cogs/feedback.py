"""Members' better answers, what they say is wrong with an answer, and what became of their votes."""

from __future__ import annotations

from collections.abc import Collection
from re import Match

import discord
from discord import app_commands
from discord.ext import commands
from sqlalchemy.orm import Session

from bot.errors import UserFacingError
from bot.guards.error_handler import NOT_MINE, answer_privately
from bot.guards.interactions import BotCog, Form, PersistentButton, button_row
from bot.localization.sentences import gettext
from bot.services import Services
from bot.text.lineage import describe_outcome, outcome_lines, outcome_text
from bot.text.splitting import answer_in_full, fit_lines
from storage.conversations.control_tokens import sanitize
from storage.conversations.replies import Reply, find_by_message, find_reply, latest_in_channel
from storage.database.enums import Cause
from storage.insights.vote_outcomes import VoteOutcome, replies_on_message, vote_outcomes
from storage.members import note_members
from storage.privacy.consent import basis_of_chat
from storage.training.evidence import WrittenCorrection, read_corrections
from storage.votes import corrections
from storage.wording import gettext_noop

FORM_CHARS = 4_000  # Discord's limit
THANKS = gettext_noop("Thank you! Your answer counts as the better one in the next round.")
TOO_NEW = gettext_noop(
    "Thank you! I keep it with the answer, but don't learn from it: your account or membership is too new."
)
NOT_TRAINED = gettext_noop("Thank you! I keep it with the answer, but don't learn from it. `/privacy show` says why.")
WHAT_IS_WRONG = gettext_noop("What is wrong with that answer?")
ADD_THUMB = gettext_noop("Add a 👎 to the answer too, or this doesn't count.")
NOTED = {
    Cause.WRONG_FACT: gettext_noop(
        "Noted: a wrong fact. I show it to the admins as a gap in what I know, and don't learn from it."
    ),
    Cause.WRONG_TONE: gettext_noop("Noted: the wrong tone. Show me a better one with `/suggest`."),
    Cause.TOO_LONG: gettext_noop("Noted: too long."),
    Cause.UNSAFE: gettext_noop("Noted: unsafe. If the answer has to be removed now, tell an admin."),
    Cause.OTHER: gettext_noop("Noted. You can write a better answer with `/suggest`."),
}
NOTED_IN_PRIVATE = gettext_noop("Noted: a wrong fact. I don't learn from it, and admins can't read it.")


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
        author = interaction.user.id
        earlier = await self.services.database.read(corrections.current_correction, reply.id, author)
        draft = earlier.text if earlier else reply.answer
        await interaction.response.send_modal(SuggestionForm(self.services, reply, draft))

    @app_commands.command(name="withdraw")
    async def withdraw_latest(self, interaction: discord.Interaction) -> None:
        """Withdraw the latest answer that you suggested in this channel."""
        await interaction.response.defer(ephemeral=True)
        author, channel_id = interaction.user.id, interaction.channel_id or 0

        def withdraw_newest(session: Session) -> bool:
            correction = corrections.latest_correction_in_channel(session, channel_id, author)
            return correction is not None and corrections.withdraw(session, correction.id, author)

        withdrawn = await self.services.database.run(withdraw_newest)
        text = (
            gettext("Your latest suggestion is withdrawn.")
            if withdrawn
            else gettext("You have no suggestion in this channel.")
        )
        await answer_privately(interaction, text)

    async def ask_for_cause(self, interaction: discord.Interaction, message: discord.Message) -> None:
        """Say what is wrong with an answer."""
        await interaction.response.defer(ephemeral=True)
        reply = await self.services.database.read(find_by_message, message.id)
        if reply is None:
            raise UserFacingError(NOT_MINE)
        await answer_privately(
            interaction, gettext(WHAT_IS_WRONG), button_row(CauseButton(reply.id, cause) for cause in Cause)
        )

    @app_commands.command()
    async def myvotes(self, interaction: discord.Interaction) -> None:
        """See what became of your votes: waiting, trained on, and in which version."""
        await interaction.response.defer(ephemeral=True)
        outcomes = await self.services.database.read(self._outcomes, interaction.user.id)
        await answer_in_full(interaction, outcome_lines(outcomes), outcome_text(outcomes), "my-votes.txt")

    async def show_vote(self, interaction: discord.Interaction, message: discord.Message) -> None:
        """Show what became of the member's vote on an answer, or on the answers of an arena."""
        await interaction.response.defer(ephemeral=True)
        outcomes = await self.services.database.read(self._outcomes_on, interaction.user.id, message.id)
        lines = [describe_outcome(outcome) for outcome in outcomes] or [gettext("You have not voted on that answer.")]
        await answer_privately(interaction, fit_lines(lines, "-# " + gettext("… and {left} more: `/myvotes`")))

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


class SuggestionForm(Form):
    def __init__(self, services: Services, reply: Reply, draft: str) -> None:
        super().__init__(services, gettext("A better answer"))
        self._reply_id = reply.id
        longest = min(FORM_CHARS, services.settings.corrections.max_chars)
        self._text = self._ask("text", gettext("What should I have answered?"), limit=longest, default=draft, long=True)

    async def on_submit(self, interaction: discord.Interaction) -> None:
        author, settings = interaction.user, self._services.settings

        def store_suggestion(session: Session) -> tuple[int, list[WrittenCorrection]]:
            reply = find_reply(session, self._reply_id)
            if reply is None:
                raise UserFacingError(NOT_MINE)
            text = corrections.check_correction(sanitize(self._text.value), reply.answer, settings.corrections)
            speakers = {*reply.speakers, author.id}
            basis = self._services.fixed_basis or basis_of_chat(session, speakers)
            if isinstance(author, discord.Member) and author.joined_at is not None:
                # Before the reply is locked, in the same order as votes and deletions.
                note_members(session, author.guild.id, {author.id: author.joined_at})
            id_ = corrections.suggest(session, reply.id, author.id, text, basis)
            where = (reply.personality_id, settings.privacy, self._services.base.revision)
            return id_, read_corrections(session, *where, settings.votes, only=id_)

        await interaction.response.defer(ephemeral=True, thinking=True)
        correction_id, usable = await self._services.database.run(store_suggestion)
        text = NOT_TRAINED if not usable else THANKS if usable[0].weight else TOO_NEW
        await answer_privately(interaction, gettext(text), button_row([WithdrawButton(correction_id)]))


class WithdrawButton(PersistentButton, template=r"reactune:withdraw:(?P<id>\d+)"):
    def __init__(self, correction_id: int) -> None:
        self.correction_id = correction_id
        super().__init__(f"reactune:withdraw:{correction_id}", gettext("Withdraw"))

    @classmethod
    def parse(cls, match: Match[str]) -> WithdrawButton:
        return cls(int(match["id"]))

    async def press(self, interaction: discord.Interaction, services: Services) -> None:
        author = interaction.user.id
        await interaction.response.defer()
        withdrawn = await services.database.run(corrections.withdraw, self.correction_id, author)
        text = (
            gettext("Your suggestion is withdrawn.") if withdrawn else gettext("That suggestion was withdrawn already.")
        )
        await interaction.edit_original_response(content=text, view=None)


class CauseButton(PersistentButton, template=r"reactune:cause:(?P<reply>\d+):(?P<cause>[a-z_]+)"):
    def __init__(self, reply_id: int, cause: Cause) -> None:
        self.reply_id = reply_id
        self.cause = cause
        label = gettext(cause.value)
        super().__init__(f"reactune:cause:{reply_id}:{cause.name.lower()}", label[0].upper() + label[1:])

    @classmethod
    def parse(cls, match: Match[str]) -> CauseButton:
        return cls(int(match["reply"]), Cause[match["cause"].upper()])

    async def press(self, interaction: discord.Interaction, services: Services) -> None:
        await interaction.response.defer()
        is_down = await services.database.run(corrections.give_cause, self.reply_id, interaction.user.id, self.cause)
        in_private = interaction.guild_id is None and self.cause is Cause.WRONG_FACT
        noted = NOTED_IN_PRIVATE if in_private else NOTED[self.cause]
        text = gettext(NOT_MINE if is_down is None else noted)
        if is_down is False:
            text += f" {gettext(ADD_THUMB)}"
        await interaction.edit_original_response(content=text, view=None)


async def setup(bot: commands.AutoShardedBot, services: Services) -> None:
    bot.add_dynamic_items(WithdrawButton, CauseButton)
    await bot.add_cog(Feedback(bot, services))
