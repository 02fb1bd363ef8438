"""Members' better answers, what they say is wrong with an answer, and what became of their votes."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from re import Match

import discord
from discord import app_commands
from discord.ext import commands
from sqlalchemy.orm import Session

from bot.errors import UserFacingError
from bot.guards import error_handler
from bot.guards.interactions import BotCog, Form, PersistentButton, button_row
from bot.localization.sentences import gettext
from bot.services import Services
from bot.text import lineage
from bot.text.splitting import answer_in_full, fit_lines
from storage.conversations.control_tokens import sanitize
from storage.conversations.replies import Reply, find_by_message, find_reply, latest_in_channel
from storage.database.enums import Cause
from storage.errors import CorrectionRefused
from storage.insights.vote_outcomes import VoteOutcome, replies_on_message, vote_outcomes
from storage.insights.weak_votes import weak_votes_by
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
FACTS = gettext_noop("Thank you! I keep your answer with mine, but don't learn from it: facts come from documents.")
WHAT_IS_WRONG = gettext_noop("What is wrong with that answer?")
ADD_THUMB = gettext_noop("Add a 👎 to the answer too, or this doesn't count.")
NOTED = {
    Cause.WRONG_FACT: gettext_noop(
        "Noted: a wrong fact. I show it to the admins as a gap in what I know, and don't learn from it."
    ),
    Cause.WRONG_TONE: gettext_noop("Noted: the wrong tone."),
    Cause.TOO_LONG: gettext_noop("Noted: too long."),
    Cause.UNSAFE: gettext_noop("Noted: unsafe. If the answer has to be removed now, tell an admin."),
    Cause.OTHER: gettext_noop("Noted."),
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
        await self._open_form(interaction, reply, error_handler.NOT_MINE)

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
        await error_handler.answer_privately(interaction, text)

    async def ask_for_cause(self, interaction: discord.Interaction, message: discord.Message) -> None:
        """Say what is wrong with an answer."""
        user_id = interaction.user.id

        def read(session: Session) -> tuple[Reply, Cause | None, corrections.Correction | None]:
            reply = find_by_message(session, message.id)
            if reply is None:
                raise UserFacingError(error_handler.NOT_MINE)
            earlier = corrections.current_correction(session, reply.id, user_id)
            return reply, corrections.cause_given_by(session, reply.id, user_id), earlier

        reply, given, earlier = await self.services.database.read(read)
        form = CauseForm(self.services, reply, given, earlier.text if earlier else "")
        await interaction.response.send_modal(form)

    @app_commands.command()
    async def myvotes(self, interaction: discord.Interaction) -> None:
        """See what became of your votes: waiting, trained on, and in which version."""
        await interaction.response.defer(ephemeral=True)
        read, user_id = self.services.database.read, interaction.user.id
        outcomes = await read(self._outcomes, user_id)
        weak = await read(weak_votes_by, user_id, self.services.settings)
        lines, text = (
            [*lineage.outcome_lines(outcomes), *lineage.weak_lines(weak)],
            lineage.outcome_text(outcomes) + lineage.weak_text(weak),
        )
        await answer_in_full(interaction, lines, text, "my-votes.txt")

    async def show_vote(self, interaction: discord.Interaction, message: discord.Message) -> None:
        """Show what became of the member's vote on an answer, or on the answers of an arena."""
        await interaction.response.defer(ephemeral=True)
        read, user_id = self.services.database.read, interaction.user.id
        outcomes = await read(self._outcomes_on, user_id, message.id)
        lines = [lineage.describe_outcome(outcome) for outcome in outcomes] or [
            gettext("You have not voted on that answer.")
        ]
        on_message = await read(replies_on_message, message.id)
        lines += lineage.weak_lines(await read(weak_votes_by, user_id, self.services.settings, on_message))
        await error_handler.answer_privately(
            interaction, fit_lines(lines, "-# " + gettext("… and {left} more: `/myvotes`"))
        )

    def _outcomes_on(self, session: Session, user_id: int, message_id: int) -> list[VoteOutcome]:
        replies = replies_on_message(session, message_id)
        if not replies:
            raise UserFacingError(error_handler.NOT_MINE)
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
        longest = longest_suggestion(services)
        self._text = self._ask("text", gettext("What should I have answered?"), limit=longest, default=draft, long=True)

    async def on_submit(self, interaction: discord.Interaction) -> None:
        await interaction.response.defer(ephemeral=True, thinking=True)
        suggestion = Suggestion(self._reply_id, self._text.value)
        correction_id, thanks = await store_suggestion(interaction, self._services, suggestion)
        await error_handler.answer_privately(interaction, thanks, button_row([WithdrawButton(correction_id)]))


@dataclass(frozen=True)
class Suggestion:
    """A better answer, as it was written."""

    reply_id: int
    text: str
    is_about_facts: bool = False
    """It is never trained on, because facts go out of date."""


def longest_suggestion(services: Services) -> int:
    return min(FORM_CHARS, services.settings.corrections.max_chars)


async def store_suggestion(
    interaction: discord.Interaction, services: Services, suggestion: Suggestion
) -> tuple[int, str]:
    """Store the suggestion, and return its ID and thanks that say whether it counts; raises CorrectionRefused."""
    author, settings = interaction.user, services.settings

    def store(session: Session) -> tuple[int, list[WrittenCorrection]]:
        reply = find_reply(session, suggestion.reply_id)
        if reply is None:
            raise UserFacingError(error_handler.NOT_MINE)
        text = corrections.check_correction(sanitize(suggestion.text), reply.answer, settings.corrections)
        speakers = {*reply.speakers, author.id}
        basis = None if suggestion.is_about_facts else services.fixed_basis or basis_of_chat(session, speakers)
        if isinstance(author, discord.Member) and author.joined_at is not None:
            # Before the reply is locked, in the same order as votes and deletions.
            note_members(session, author.guild.id, {author.id: author.joined_at})
        id_ = corrections.suggest(session, reply.id, author.id, text, basis)
        where = (reply.personality_id, settings.privacy, services.base.revision)
        return id_, read_corrections(session, *where, settings.votes, only=id_)

    correction_id, usable = await services.database.run(store)
    if suggestion.is_about_facts:
        return correction_id, gettext(FACTS)
    return correction_id, gettext(NOT_TRAINED if not usable else THANKS if usable[0].weight else TOO_NEW)


class CauseForm(Form):
    """Asks what is wrong with an answer, and for a better one from those who have one."""

    def __init__(self, services: Services, reply: Reply, given: Cause | None, draft: str) -> None:
        super().__init__(services, gettext(WHAT_IS_WRONG))
        self._reply_id = reply.id
        self._causes = {_label(cause): cause for cause in Cause}
        self._cause = self._let_choose(
            "cause", gettext("Choose the main reason"), list(self._causes), chosen=_label(given) if given else ""
        )
        self._text = self._ask(
            "text",
            gettext("What should I have answered?"),
            gettext("You can leave this empty."),
            limit=longest_suggestion(services),
            default=draft,
            long=True,
        )

    async def on_submit(self, interaction: discord.Interaction) -> None:
        await interaction.response.defer(ephemeral=True, thinking=True)
        cause = self._causes.get(self._cause.value or "", Cause.OTHER)
        noted = await self._note(interaction, cause)
        if not self._text.value.strip():
            await error_handler.answer_privately(interaction, noted)
            return
        suggestion = Suggestion(self._reply_id, self._text.value, is_about_facts=cause is Cause.WRONG_FACT)
        try:
            correction_id, thanks = await store_suggestion(interaction, self._services, suggestion)
        except CorrectionRefused as error:  # the cause is stored all the same
            await error_handler.answer_privately(interaction, f"{noted}\n{error_handler.member_message(error)}")
            return
        await error_handler.answer_privately(
            interaction, f"{noted}\n{thanks}", button_row([WithdrawButton(correction_id)])
        )

    async def _note(self, interaction: discord.Interaction, cause: Cause) -> str:
        """Store the cause, and return what the member reads about it."""
        user_id = interaction.user.id
        is_down = await self._services.database.run(corrections.give_cause, self._reply_id, user_id, cause)
        if is_down is None:
            raise UserFacingError(error_handler.NOT_MINE)
        in_private = interaction.guild_id is None and cause is Cause.WRONG_FACT
        noted = gettext(NOTED_IN_PRIVATE if in_private else NOTED[cause])
        return noted if is_down else f"{noted} {gettext(ADD_THUMB)}"


def _label(cause: Cause) -> str:
    words = gettext(cause.value)
    return words[0].upper() + words[1:]


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


async def setup(bot: commands.AutoShardedBot, services: Services) -> None:
    bot.add_dynamic_items(WithdrawButton)
    await bot.add_cog(Feedback(bot, services))
