"""Asks members whether to remember facts about themselves. Nothing is kept without a yes."""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import Sequence
from enum import StrEnum

import discord
from sqlalchemy.orm import Session

from bot.chat.conversation import own_words
from bot.chat.own_threads import channel_of_starter
from bot.discord_errors import DISCORD_ERRORS
from bot.errors import UserFacingError
from bot.guards.access import is_quiet
from bot.guards.error_handler import answer_privately
from bot.guards.interactions import PersistentButton, button_row
from bot.localization.sentences import gettext, ngettext
from bot.memory.facts import NAMED, Fact, find_fact
from bot.memory.recall import find_same
from bot.services import Services
from bot.text.sanitize import escape_inline
from storage.database.columns import utc_now
from storage.memory import MAX_NOTES, Note, add_note, allow_questions, list_notes, may_ask, note_question
from storage.privacy.erasure import erase_notes
from storage.wording import gettext_noop

log = logging.getLogger(__name__)

PROPOSAL_S = 120.0
"""Time until an unanswered question disappears."""
NO_NOTE = 0
"""The replaced note's id in a button's custom ID, if the new note replaces none."""
FOR_OTHERS = gettext_noop("Only the person whom I asked can answer that.")
GONE = gettext_noop("I can't find what you said any more, so I won't remember it.")
NOT_KEPT = gettext_noop("OK, I won't remember that, and I won't ask about it again.")
SILENCED = gettext_noop("OK, I won't ask you again. `/me show` changes that, and `/me remember` adds a note.")
_GERMAN = re.compile(r"(?:dass |mein\b|meine\b|ich\b|nenn\b|du\b)", re.IGNORECASE)
_CALLED = re.compile(
    r"(?:(?:please )?call me|you (?:can|may) call me|my name(?:['’]s| is)|I go by) (?P<name>.+)", re.IGNORECASE
)
_YOURS = {
    "i": "you",
    "me": "you",
    "my": "your",
    "mine": "yours",
    "myself": "yourself",
    "i am": "you are",
    "i was": "you were",
    "im": "you're",
    "ive": "you've",
    "i'm": "you're",
    "i've": "you've",
    "i'd": "you'd",
    "i'll": "you'll",
    "am": "are",
}
_MINE = re.compile(r"\b(?:I am|I was|I['’](?:m|ve|d|ll)|Im|Ive|I|me|my|mine|myself|am)\b(?!['’])", re.IGNORECASE)


class FactAnswer(StrEnum):
    KEEP = "keep"
    REPLACE = "replace"
    NO = "no"
    NEVER = "never"


def describe_kept(note: Note, deleted_answers: int = 0) -> str:
    """Return the message about a new note, and about the answers that were deleted with the replaced one."""
    kept = gettext(
        "Noted: “{note}”\nI use it only when I answer you here, but others in the channel may notice. `/me show` lists "
        "your notes and lets you delete them.",
        note=escape_inline(note.text),
    )
    if not deleted_answers:
        return kept
    deleted = ngettext(
        "I deleted the old note, and my record of {count} answer that used it, with its votes.",
        "I deleted the old note, and my record of {count} answers that used it, with their votes.",
        deleted_answers,
    )
    return f"{kept} {deleted}"


async def propose_fact(
    services: Services, message: discord.Message, said: str, channel: discord.abc.Messageable
) -> None:
    """Ask a message's author whether to remember a fact about themselves, at most once a day.

    `channel` has the answer to the message, and gets the question.
    """
    is_off = not services.settings.memory.propose_facts or is_quiet(services.settings.chat, utc_now())
    fact = None if is_off else find_fact(said)
    if fact is None:
        return
    guild_id = message.guild.id if message.guild else None
    notes = await services.database.run(_begin, message.author.id, guild_id, fact)
    if notes is None:
        return
    same = await find_same(services.library, fact, notes)
    text = f"-# {ask_to_keep(fact, same)} {gettext('I use it only when I answer you here.')}"
    ask = message.reply if channel == message.channel else channel.send  # replies cannot reach into a thread
    try:
        await ask(text, view=_buttons(message, same), delete_after=PROPOSAL_S, silent=True)
    except DISCORD_ERRORS as error:
        log.warning("Discord refused the question whether to remember something: %s", error)


def _begin(session: Session, user_id: int, guild_id: int | None, fact: Fact) -> Sequence[Note] | None:
    """Record that the member is asked, and return their notes; None if they must not be asked."""
    notes = list_notes(session, user_id, guild_id)
    is_known = any(note.text.casefold() == fact.text.casefold() for note in notes)
    if is_known or len(notes) >= MAX_NOTES or not may_ask(session, user_id, fact.text, is_requested=fact.is_requested):
        return None
    note_question(session, user_id, fact.text)
    return notes


def _buttons(message: discord.Message, same: Note | None) -> discord.ui.View:
    replacing = [] if same is None else [FactAnswer.REPLACE]
    answers = [*replacing, FactAnswer.KEEP, FactAnswer.NO, FactAnswer.NEVER]
    note_id = same.id if same else NO_NOTE
    return button_row(FactButton(answer, message.author.id, message.id, note_id) for answer in answers)


class FactButton(
    PersistentButton,
    template=r"reactune:fact:(?P<answer>keep|replace|no|never):(?P<member>\d+):(?P<message>\d+):(?P<note>\d+)",
):
    """The member's answer. The fact is read from their message again, so that nothing is stored before a yes."""

    def __init__(self, answer: FactAnswer, member_id: int, message_id: int, note_id: int) -> None:
        self.answer = answer
        self.member_id = member_id
        self.message_id = message_id
        self.note_id = note_id
        labels = {
            FactAnswer.KEEP: gettext("Yes") if note_id == NO_NOTE else gettext("Keep both"),
            FactAnswer.REPLACE: gettext("Yes, replace it"),
            FactAnswer.NO: gettext("No"),
            FactAnswer.NEVER: gettext("Never ask me"),
        }
        super().__init__(f"reactune:fact:{answer}:{member_id}:{message_id}:{note_id}", labels[answer])
        is_yes = answer is FactAnswer.REPLACE or (answer is FactAnswer.KEEP and note_id == NO_NOTE)
        self.item.emoji = discord.PartialEmoji(name="✅") if is_yes else None

    async def press(self, interaction: discord.Interaction, services: Services) -> None:
        if interaction.user.id != self.member_id:
            raise UserFacingError(FOR_OTHERS)
        await interaction.response.defer()
        said = await self._act(interaction, services)
        with contextlib.suppress(*DISCORD_ERRORS):
            await interaction.delete_original_response()
        await answer_privately(interaction, said)

    async def _act(self, interaction: discord.Interaction, services: Services) -> str:
        if self.answer is FactAnswer.NO:
            return gettext(NOT_KEPT)
        if self.answer is FactAnswer.NEVER:
            await services.database.run(allow_questions, self.member_id, allowed=False)
            return gettext(SILENCED)
        fact = await self._read_again(interaction)
        if fact is None:
            return gettext(GONE)
        note, deleted_answers = await services.database.run(self._keep, interaction.guild_id, fact)
        await services.tastes.refresh()
        return describe_kept(note, deleted_answers)

    async def _read_again(self, interaction: discord.Interaction) -> Fact | None:
        """Return the fact as the member's message states it now; None if they edited or deleted that."""
        here = interaction.client.get_partial_messageable(interaction.channel_id or 0)
        channel = channel_of_starter(interaction.channel, self.message_id) or here
        try:
            message = await channel.fetch_message(self.message_id)
        except discord.NotFound:
            return None
        is_theirs = message.author.id == self.member_id
        return find_fact(own_words(message, interaction.client.user)) if is_theirs else None

    def _keep(self, session: Session, guild_id: int | None, fact: Fact) -> tuple[Note, int]:
        """Return the new note, and the number of answers that were deleted with the replaced one."""
        deleted_answers = 0
        if self.answer is FactAnswer.REPLACE:
            own = {note.id for note in list_notes(session, self.member_id, guild_id)}
            deleted_answers = erase_notes(session, own & {self.note_id}).replies
        return add_note(session, self.member_id, guild_id, fact.text), deleted_answers


def ask_to_keep(fact: Fact, instead_of: Note | None) -> str:
    """Return the question whether to remember a fact, and whether it shall replace a note about the same thing."""
    question = _question(fact)
    if instead_of is None:
        return f"{question}?"
    return gettext("{question}, instead of “{note}”?", question=question, note=escape_inline(instead_of.text))


def _question(fact: Fact) -> str:
    called = _CALLED.fullmatch(fact.text) if fact.topic == NAMED else None
    if called is not None:
        return gettext("Call you {name} from now on", name=escape_inline(called["name"]))
    # German verbs change with the person: quoted, they are right.
    if _GERMAN.match(fact.text):
        return gettext("Remember “{fact}”", fact=escape_inline(fact.text))
    return gettext("Remember that {fact}", fact=escape_inline(to_second_person(fact.text)))


def to_second_person(text: str) -> str:
    """Return an English sentence of a person about themselves, turned to address that person."""
    return _MINE.sub(lambda found: _YOURS[found[0].lower().replace("’", "'")], text)
