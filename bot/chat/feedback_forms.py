"""The forms in which members write a better answer, and criticise one."""

from __future__ import annotations

from typing import Self

import discord
from sqlalchemy.orm import Session

from bot.errors import UserFacingError
from bot.guards.error_handler import NOT_MINE, answer_privately, member_message
from bot.guards.interactions import Form, PersistentButton, button_row
from bot.knowledge.gaps import question_of
from bot.localization.sentences import gettext
from bot.services import Services
from storage.conversations.control_tokens import sanitize
from storage.conversations.replies import Reply, find_reply
from storage.database.enums import Cause, Origin
from storage.errors import CorrectionRefused
from storage.members import note_members
from storage.privacy.consent import basis_of_chat
from storage.training.feedback import WrittenCorrection, read_corrections
from storage.training.trainable import TrainingScope
from storage.votes import corrections
from storage.wording import gettext_noop

THANKS = gettext_noop("Thank you! Your answer counts as the better one in the next round.")
TOO_NEW = gettext_noop(
    "Thank you! I keep your answer with mine, but don't learn from it: your account or membership is too new. Suggest "
    "it again in a few days."
)
NOT_TRAINED = gettext_noop("Thank you! I keep your answer with mine, but don't learn from it. `/privacy` says why.")
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


def _about(reply: Reply) -> str:
    """Return the question of the answer, for the form: others may have been answered since."""
    return gettext("To: “{question}”", question=question_of(reply.messages))


class SuggestionForm(Form):
    def __init__(self, services: Services, reply: Reply, draft: str) -> None:
        super().__init__(services, gettext("A better answer"))
        self._reply_id = reply.id
        longest = corrections.MAX_SUGGESTED_CHARS
        self._text = self._ask(
            "text", gettext("What should I have answered?"), _about(reply), limit=longest, default=draft, long=True
        )

    async def on_submit(self, interaction: discord.Interaction) -> None:
        await interaction.response.defer(ephemeral=True, thinking=True)
        correction_id, thanks = await _suggest(interaction, self._services, self._reply_id, self._text.value)
        await answer_privately(interaction, thanks, button_row([WithdrawButton(correction_id)]))


async def _suggest(
    interaction: discord.Interaction, services: Services, reply_id: int, suggested: str, *, about_facts: bool = False
) -> tuple[int, str]:
    """Store the suggestion, and return its ID and thanks that say whether it counts; raises CorrectionRefused.

    One about facts is never trained on, because facts go out of date.
    """
    author, settings = interaction.user, services.settings

    def store(session: Session) -> tuple[int, list[WrittenCorrection]]:
        reply = find_reply(session, reply_id)
        if reply is None:
            raise UserFacingError(NOT_MINE)
        text = corrections.check_correction(sanitize(suggested), reply.answer)
        speakers = {*reply.speakers, author.id}
        basis = None if about_facts else services.fixed_basis or basis_of_chat(session, speakers)
        if isinstance(author, discord.Member) and author.joined_at is not None:
            # Before the reply is locked, in the same order as votes and deletions.
            note_members(session, author.guild.id, {author.id: author.joined_at})
        id_ = corrections.suggest(session, reply.id, author.id, text, basis)
        scope = TrainingScope(reply.personality_id, settings.privacy, services.base.revision)
        return id_, read_corrections(session, scope, settings.votes, only=id_)

    correction_id, usable = await services.database.run(store)
    if about_facts:
        return correction_id, gettext(FACTS)
    return correction_id, gettext(NOT_TRAINED if not usable else THANKS if usable[0].weight else TOO_NEW)


class CauseForm(Form):
    """Asks for the fault of an answer, and for a better answer from members who have one."""

    def __init__(self, services: Services, reply: Reply, given: Cause | None, draft: str) -> None:
        super().__init__(services, gettext(WHAT_IS_WRONG))
        self._reply_id = reply.id
        self._causes = {_label(cause): cause for cause in Cause}
        self._cause = self._let_choose(
            "cause",
            gettext("Choose the main reason"),
            list(self._causes),
            chosen=_label(given) if given else "",
            help_text=_about(reply),
        )
        self._text: discord.ui.TextInput[Self] | None = None
        if reply.origin is not Origin.FIXED:
            self._text = self._ask(
                "text",
                gettext("What should I have answered?"),
                gettext("You can leave this empty."),
                limit=corrections.MAX_SUGGESTED_CHARS,
                default=draft,
                long=True,
            )

    async def on_submit(self, interaction: discord.Interaction) -> None:
        await interaction.response.defer(ephemeral=True, thinking=True)
        cause = self._causes.get(self._cause.value or "", Cause.OTHER)
        noted = await self._note(interaction, cause)
        if self._text is None or not self._text.value.strip():
            await answer_privately(interaction, noted)
            return
        try:
            correction_id, thanks = await _suggest(
                interaction, self._services, self._reply_id, self._text.value, about_facts=cause is Cause.WRONG_FACT
            )
        except CorrectionRefused as error:  # the cause is stored all the same
            await answer_privately(interaction, f"{noted}\n{member_message(error)}")
            return
        await answer_privately(interaction, f"{noted}\n{thanks}", button_row([WithdrawButton(correction_id)]))

    async def _note(self, interaction: discord.Interaction, cause: Cause) -> str:
        user_id = interaction.user.id
        counts = await self._services.database.run(corrections.give_cause, self._reply_id, user_id, cause)
        if counts is None:
            raise UserFacingError(NOT_MINE)
        in_private = interaction.guild_id is None and cause is Cause.WRONG_FACT
        noted = gettext(NOTED_IN_PRIVATE if in_private else NOTED[cause])
        return noted if counts else f"{noted} {gettext(ADD_THUMB)}"


def _label(cause: Cause) -> str:
    words = gettext(cause.value)
    return words[0].upper() + words[1:]


class WithdrawButton(PersistentButton, template=r"reactune:withdraw:(?P<id>\d+)"):
    def __init__(self, correction_id: int) -> None:
        self.correction_id = correction_id
        super().__init__(f"reactune:withdraw:{correction_id}", gettext("Take back"))

    async def press(self, interaction: discord.Interaction, services: Services) -> None:
        author = interaction.user.id
        await interaction.response.defer()
        withdrawn = await services.database.run(corrections.withdraw, self.correction_id, author)
        text = (
            gettext("Your suggestion is taken back.")
            if withdrawn
            else gettext("That suggestion was taken back already.")
        )
        await interaction.edit_original_response(content=text, view=None)
