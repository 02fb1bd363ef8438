"""Finds lasting facts that a message states about its author, in English and German.

Precision comes before recall: a bot that asks about everything is worse than one that forgets. So only known forms of
statements count, and only at the beginning of a sentence that cannot be a quote, a question or a game.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from bot.memory import vocabulary as words
from bot.memory.forms import FORMS, NAMED
from bot.text.questions import is_question
from storage.privacy.notes import MAX_NOTE_CHARS

MAX_CHARS = 600
"""Maximum length of a message with facts: longer ones are pasted, or stories."""
MAX_WORDS = 14

_FILLERS = words.one_of(
    "hi hey hello hiya yo hallo moin servus by_the_way btw fyi well actually also and und but aber so ok okay oh ah "
    "yes yeah yep no nope hm hmm anyway ja nein naja übrigens tja honestly lol haha"
)
_OPENING = re.compile(rf"(?:{_FILLERS}\b[\s,:!…-]*)*", re.IGNORECASE)
_REQUEST = re.compile(
    r"(?:(?:please|can you|could you|will you) )*(?:remember|do(?:n['’]?t| not) forget|keep in mind|note)(?: please)?"
    r"(?:(?:,? that|:) (?P<that>(?:I|I['’]?m|I['’]ve|my)\b.*)| (?P<said>(?:I|I['’]m|I['’]ve) .*))"
    r"|(?:bitte )?(?:merk dir|vergiss nicht)(?: bitte)?(?:,|:) (?P<dass>(?:dass )?(?:ich|meine?)\b.*)",
    re.IGNORECASE,
)
_SENTENCE = re.compile(r"(?:\b(?:Dr|Mr|Mrs|Ms)\.|[^.!?…\n;])+[.!?…;]*")
_NEXT_CLAUSE = words.one_of(
    "so but because cause cuz since though although which who where what how lol haha btw also aber denn weil obwohl"
)
_NEXT_SUBJECT = words.one_of(
    "i i'm im my he she it they we one the this that then need want would can could do doing what how ich er sie es "
    "wir mein meine"
)
_CLAUSE_END = re.compile(
    rf",|;|:|\s[-–—]\s|\s\(|\s[:;]-?[()DP]|\s(?={_NEXT_CLAUSE}\b)"
    rf"|\s(?=(?:and|und)\s+(?:{_NEXT_SUBJECT}|(?!sing|bring)\w{{3,}}ing)\b)",
    re.IGNORECASE,
)
_FILLER = re.compile(r"\s+(?:too|as well|also|sorry|though|yeah|haha\w*|lol|btw|by the way)$", re.IGNORECASE)
_GOES_ON = re.compile(
    r"\b(?:i|he|she|we|they|is|are|was|were|has|had|its|will|think|please|yeah|lol|or|and all|i['’]m|it['’]s)\b",
    re.IGNORECASE,
)
"""Words that begin another sentence, in chats often without a comma."""
_TAG = re.compile(
    r"\W*(?:right|ok|okay|eh|huh|yes|no|correct|oder|gell|ne|stimmt|nicht wahr|(?:do|am|are|is|have|did)n['’]?t \w+)"
    r"\W*$",
    re.IGNORECASE,
)
_END = " \t.,;:!?…"


@dataclass(frozen=True)
class Fact:
    """A fact that a member stated about themselves, in their words."""

    text: str
    topic: str = ""
    """The fact's topic if a member has only one of it, such as "home"."""
    is_requested: bool = False
    """The member asked for it to be remembered."""


def find_fact(message: str) -> Fact | None:
    """Return the first lasting fact that a message states about its author, or None.

    A fact about health, religion, politics, sexuality, origin, crime or money is returned only if its author asked for
    it to be remembered; an address, a number or a password never is.
    """
    if len(message) > MAX_CHARS or words.NOT_MEANT.search(message):
        return None
    found = (_requested(sentence) or _stated(sentence) for sentence in _sentences(message))
    return next((fact for fact in found if fact is not None), None)


def topic_of(text: str) -> str:
    """Return a statement's topic if a member has only one of it, else an empty text."""
    return next((topic for topic, form in FORMS if form.match(text)), "")


def _sentences(message: str) -> Iterator[str]:
    for found in _SENTENCE.finditer(message):
        sentence = found[0].strip()
        yield sentence[_OPENING.match(sentence).end() :]  # pyrefly: ignore[missing-attribute] (it matches nothing, too)


def _requested(sentence: str) -> Fact | None:
    asked = _REQUEST.match(sentence)
    if asked is None:
        return None
    text = (asked["that"] or asked["said"] or asked["dass"]).strip(_END)
    is_clear = len(text) <= MAX_NOTE_CHARS and not words.ABOUT_OTHERS.search(text) and not words.SECRET.search(text)
    return Fact(text, topic_of(text), is_requested=True) if is_clear else None


def _stated(sentence: str) -> Fact | None:
    end = _CLAUSE_END.search(sentence)
    clause, tail = (sentence[: end.start()], sentence[end.start() :].strip(" ,;:-–—")) if end else (sentence, "")
    if sentence.endswith("?") and (not is_question(tail) or _TAG.match(tail)):
        return None
    clause = clause.strip(_END)
    for topic, form in FORMS:
        if stated := form.match(clause):
            return _whole(clause, stated[0], topic)
    return None


def _whole(clause: str, stated: str, topic: str) -> Fact | None:
    """Return the fact of a clause that begins with a statement; a name ends with the statement."""
    is_name = topic == NAMED or re.search(r"\b(?:called|named|name is|heißt)\b", stated, re.IGNORECASE)
    text = stated if is_name else _FILLER.sub("", clause)
    is_short = len(text) <= MAX_NOTE_CHARS and len(text.split()) <= MAX_WORDS
    is_about_others = topic != NAMED and words.ABOUT_OTHERS.search(text)
    refused = any(pattern.search(clause) for pattern in (words.FLEETING, words.SECRET, words.SENSITIVE))
    goes_on = _GOES_ON.search(text[len(stated) :])
    return Fact(text, topic) if is_short and not (is_about_others or refused or goes_on) else None
