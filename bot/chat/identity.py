"""Recognises questions whether the bot is a bot, which a fixed sentence answers: a model, or votes, could deny it.

A question is read clause by clause, and a clause must be such a question from its first to its last word: "Are you a
bot?" is one, "Are you a bot that plays music?" and "The bot in my game is broken" are none. Words that change nothing
("hey", "actually", "eigentlich") are left out first, usual abbreviations are written out, and long words may have one
wrong letter.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from bot.chat.identity_grammar import (
    ALONE,
    AT_END,
    DOUBT,
    DOUBT_FILLERS,
    EMBEDDED,
    FILLER,
    GREETED,
    IDENTITY_WORDS,
    NAMED_ALONE,
    QUOTES_SOMEBODY,
    SENTENCES,
    SPELLINGS,
    TAGS,
    TYPED_WRONGLY,
    USE,
    WHO,
    WHOLE,
    YOURE,
    QuestionLanguage,
)


class About(StrEnum):
    KIND = "what it is"
    USE = "what it does"


@dataclass(frozen=True)
class Asked:
    about: About
    language: QuestionLanguage


_QUOTED = re.compile(r"```.*?```|`[^`]*`|^>.*?$|\"[^\"]*\"|[“„«»][^“”„«»]*[”“«»]", re.MULTILINE | re.DOTALL)
_WORD = re.compile(r"[^\W_]+")
_ADDRESSED = re.compile(r"@\S+|:\w+:|<[^>]*>")
MOST_CHARS = 300
"""Maximum characters of a question about the bot: longer messages have another point."""


def asks_about_itself(text: str, name: str = "") -> Asked | None:
    """Return a message's question to the bot about itself; None if it is about something else.

    `name` is the bot's name for people.
    """
    if language := asks_what_it_is(text, name):
        return Asked(About.KIND, language)
    said = [clause for sentence in _sentences(text, name) for clause in _clauses(sentence)]
    for language, pattern in USE.items():
        left = [words for clause in said if (words := _without_fillers(clause, language))]
        asked = [words for words in left if not GREETED.fullmatch(words)]
        if asked and all(pattern.fullmatch(words) for words in asked):
            return Asked(About.USE, language)
    return None


def asks_what_it_is(text: str, name: str = "") -> QuestionLanguage | None:
    """Return the language in which a message asks, or claims, what kind of being the bot is; None if it does not.

    `name` is the bot's name for people.
    """
    if len(text) > MOST_CHARS:
        return None
    sentences = [_clauses(sentence) for sentence in _sentences(text, name)]
    clauses = [clause for sentence in sentences for clause in sentence]
    whole = [" ".join(sentence) for sentence in sentences if len(sentence) > 1]
    last = [clause for sentence in sentences for clause in sentence[-1:]]
    said = [clause for clause in clauses if _without_fillers(clause, QuestionLanguage.ENGLISH)]
    for language in QuestionLanguage:
        if any(_asks(clause, language) for clause in (*clauses, *whole)):
            return language
        if any(_matches(WHO[language], clause, language) for clause in last):
            return language
        others = [clause for clause in clauses if not _matches(ALONE[language], clause, language)]
        if len(others) < len(clauses) and all(_is_tag(clause, language) for clause in others):
            return language
        if "?" in text and said and all(_matches(NAMED_ALONE[language], clause, language) for clause in said):
            return language
    return None


def doubts_it(text: str) -> bool:
    """Return whether a message doubts the last answer, such as "really?", or asks about it, such as "is it an app?".

    Only the answer before tells what it is about.
    """
    clauses = [clause for sentence in _sentences(text) for clause in _clauses(sentence)]
    said = [words for clause in clauses if (words := " ".join(DOUBT_FILLERS.sub(" ", clause).split()))]
    return bool(said) and all(DOUBT.fullmatch(words) for words in said)


def _asks(clause: str, language: QuestionLanguage) -> bool:
    if _matches(WHOLE[language], clause, language):
        return True
    words = _without_fillers(clause, language).split()
    for place in range(1, len(words)):
        if EMBEDDED.fullmatch(words[place - 1]):
            return False
        if AT_END[language].fullmatch(" ".join(words[place:])):
            return True
    return False


def _is_tag(clause: str, language: QuestionLanguage) -> bool:
    return bool(TAGS.fullmatch(clause) or TAGS.fullmatch(_without_fillers(clause, language)))


def _matches(pattern: re.Pattern[str], clause: str, language: QuestionLanguage) -> bool:
    return bool(pattern.fullmatch(clause) or pattern.fullmatch(_without_fillers(clause, language)))


def _without_fillers(clause: str, language: QuestionLanguage) -> str:
    return " ".join(FILLER[language].sub(" ", clause).split())


def _sentences(text: str, name: str = "") -> list[str]:
    plain = _ADDRESSED.sub(" ", _QUOTED.sub(" quoted ", _plain(text)))
    plain = re.sub(r"(?<=\w)'(?=(?:re|m|s|d|t)\b)", "", plain)
    if name and not IDENTITY_WORDS.fullmatch(" ".join(_words(_plain(name)))):
        own = rf"(?<!\w){re.escape(_plain(name))}(?!\w)"
        spoken_to = rf"(?:^|(?<=[,.!?;:\n])\s*|(?<=\bis )|(?<=\bist )){own}|{own}(?=\s*(?:$|[,.!?;:\n]))"
        plain = re.sub(spoken_to, " you ", plain)
    plain = plain if QUOTES_SOMEBODY.match(plain) else plain.replace(":", ",")
    return SENTENCES.split(plain)


def _plain(text: str) -> str:
    return unicodedata.normalize("NFKC", text).lower().replace("’", "'")


def _clauses(sentence: str) -> list[str]:
    found = (YOURE.sub("you are ", " ".join(_words(part))) for part in sentence.split(","))
    return [clause for clause in found if clause]


def _words(clause: str) -> Iterator[str]:
    for word in _WORD.findall(clause):
        if word in SPELLINGS:
            yield SPELLINGS[word]
        elif word in TYPED_WRONGLY:
            yield word
        else:
            yield next((meant for meant in TYPED_WRONGLY if _is_slip(word, meant)), word)


def _is_slip(word: str, meant: str) -> bool:
    """Return whether one letter is wrong, missing, too many, or swapped with the next."""
    if abs(len(word) - len(meant)) > 1 or word[0] != meant[0]:
        return False
    start = next(
        (place for place, (a, b) in enumerate(zip(word, meant, strict=False)) if a != b), min(len(word), len(meant))
    )
    rest, expected = word[start:], meant[start:]
    swapped = rest[1:2] + rest[:1] + rest[2:]
    return expected in (rest[1:], swapped) or expected[1:] in (rest, rest[1:])
