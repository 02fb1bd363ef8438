"""The form that makes a question and an answer an example of a card, without the words of members."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator
from functools import partial

import discord

from bot.chat.prompting import NO_ORDERS
from bot.errors import UserFacingError
from bot.guards.access import require_admin, user_label
from bot.guards.audit import action_of, run_audited
from bot.guards.error_handler import NOT_MINE, answer_privately
from bot.guards.interactions import DraftForm, PersistentButton, button_row
from bot.knowledge.quoting import newest_question, without_quotes
from bot.localization.sentences import gettext
from bot.personalities.card_form import FIELD_CHARS
from bot.personalities.selection import require_own
from bot.services import Services
from storage.conversations.replies import Reply
from storage.database.enums import Basis
from storage.personalities.personalities import Personality, add_example, read_personality, remove_example
from storage.wording import gettext_noop

log = logging.getLogger(__name__)

RUN_WORDS = 6
"""This many words in a row from a member's message or a document are not the admin's own."""
OWN_WORDS = gettext_noop("In your own words: a card keeps nothing that a member wrote.")
ANSWER_HELP = gettext_noop("Leave out names, and what members wrote.")
OUTSIDE = gettext_noop("That answer is about a picture, a web page or a forwarded message, so it can't be an example.")
REPEATED = gettext_noop(
    "That repeats what a member wrote, or a document. Examples are kept for good and trained on, so please say it in "
    "your own words."
)
ALREADY = gettext_noop(
    "That answer is an example of {name} already. To change or remove it, use `/personality edit {name}`."
)
ADDED = gettext_noop(
    "Added to the examples of **{name}**. `/version train personality:{name} learn_from:examples` trains on them. To "
    "undo this, press the button."
)

_WORD = re.compile(r"\w+")


def example_form(
    services: Services, reply: Reply, personality: Personality, user_id: int, guild_id: int
) -> ExampleForm:
    """Return the form for an answer; raises UserFacingError if it cannot become an example, or is one already."""
    if not reply.answer:
        raise UserFacingError(NOT_MINE)
    require_own(services, personality, {guild_id})
    if reply.has_outside_text:
        raise UserFacingError(OUTSIDE)
    if any(reply.answer in example.dialogue[1::2] for example in personality.card.examples):
        raise UserFacingError(ALREADY, name=personality.name)
    return ExampleForm(services, reply, personality, user_id)


class ExampleForm(DraftForm):
    action = "save as example"

    def __init__(
        self,
        services: Services,
        reply: Reply,
        personality: Personality,
        user_id: int,
        draft: tuple[str, str] | None = None,
    ) -> None:
        """`draft` holds the question and the answer of a form that was refused."""
        super().__init__(services, gettext("An example for {name}", name=personality.name))
        self._reply, self._personality, self._user_id = reply, personality, user_id
        is_free = reply.basis is Basis.LOCAL or set(reply.speakers) <= {user_id}
        self._said = [] if is_free else list(_said_by_people(reply))
        question = without_quotes(newest_question(reply.messages)).strip() if is_free else ""
        asked, answered = draft or (question, reply.answer)
        question_help = None if is_free else gettext(OWN_WORDS)
        answer_help = None if is_free else gettext(ANSWER_HELP)
        ask = partial(self._ask, limit=FIELD_CHARS, long=True, required=True)
        self._asked = ask("asked", gettext("What a person says"), question_help, default=asked)
        answers = gettext("What {name} answers", name=personality.name)
        self._answered = ask("answered", answers, answer_help, default=answered)

    async def on_submit(self, interaction: discord.Interaction) -> None:
        await interaction.response.defer(ephemeral=True, thinking=True)
        asked, answered = self._asked.value, self._answered.value
        if repeats(asked, self._said) or repeats(answered, self._said):
            raise UserFacingError(REPEATED)
        whose, by = self._personality, user_label(interaction.user)
        action = action_of(interaction, self.action, f"answer {self._reply.id} for {whose.name}")
        example = await run_audited(interaction, action, add_example, whose.id, asked, answered, by=by)
        log.info("%s added an example to the card of %s.", by, whose.name)
        undo = button_row([RemoveExampleButton(whose.id, example.digest)])
        await answer_privately(interaction, gettext(ADDED, name=whose.name), undo)

    def again(self) -> ExampleForm:
        draft = self._asked.value, self._answered.value
        return ExampleForm(self._services, self._reply, self._personality, self._user_id, draft)


def repeats(text: str, said: Iterable[str]) -> bool:
    """Return whether a text repeats a whole message, or RUN_WORDS words in a row of one; case does not matter."""
    words = _words(text)
    runs = set(_runs(words))
    return any(words == theirs or not runs.isdisjoint(_runs(theirs)) for theirs in map(_words, said) if theirs)


def _words(text: str) -> tuple[str, ...]:
    return tuple(_WORD.findall(text.casefold()))


def _runs(words: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    return (words[start : start + RUN_WORDS] for start in range(len(words) - RUN_WORDS + 1))


def _said_by_people(reply: Reply) -> Iterator[str]:
    """Yield people's words in the prompt, and texts made from them: turns, quoted documents, summary and notes.

    Turns are yielded whole and by lines: several people's stand in one, with names, and quotes stand below the newest.
    """
    for message in reply.messages:
        content = message["content"]
        if message["role"] == "system":
            yield from (line.partition(NO_ORDERS)[2] for line in content.splitlines())
        elif message["role"] == "user":
            yield without_quotes(content)
            yield content
            for line in content.splitlines():
                yield from (line, line.partition(": ")[2])


class RemoveExampleButton(PersistentButton, template=r"reactune:example:(?P<personality>\d+):(?P<digest>[0-9a-f]{32})"):
    action = "remove example"

    def __init__(self, personality_id: int, digest: str) -> None:
        self.personality_id = personality_id
        self.digest = digest
        super().__init__(f"reactune:example:{personality_id}:{digest}", gettext("Remove it again"))

    async def press(self, interaction: discord.Interaction, services: Services) -> None:
        require_admin(interaction.user, services.settings.discord)
        await interaction.response.defer()
        whose = await services.database.read(read_personality, self.personality_id)
        require_own(services, whose, {interaction.guild_id or 0})
        action = action_of(interaction, self.action, f"of {whose.name}")
        by = user_label(interaction.user)
        removed = await run_audited(interaction, action, remove_example, whose.id, self.digest, by=by)
        text = (
            gettext("Removed from the examples of **{name}**.", name=whose.name)
            if removed
            else gettext("That example is gone already.")
        )
        await interaction.edit_original_response(content=text, view=None)
