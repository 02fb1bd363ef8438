"""Says to members what they said about themselves: "I keep bees" becomes "you keep bees"."""

from __future__ import annotations

import re
from re import Match

from bot.localization.sentences import gettext
from bot.memory.facts import Fact
from bot.memory.forms import NAMED
from bot.text.sanitize import escape_inline
from storage.privacy.notes import Note

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


def ask_to_keep(fact: Fact, instead_of: Note | None) -> str:
    """Return the question whether to remember a fact, and whether a note about the same thing shall go for it."""
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
    """Return an English sentence of a person about themselves as one says it to them."""
    return _MINE.sub(_yours, text)


def _yours(found: Match[str]) -> str:
    return _YOURS[found[0].lower().replace("’", "'")]
