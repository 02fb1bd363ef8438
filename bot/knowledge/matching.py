"""Matches the words of questions and lines: whatever their endings, with synonyms, typing errors and compounds."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from functools import cache
from pathlib import Path

from storage.knowledge.words import STOP_WORDS

SYNONYMS = Path(__file__).with_name("synonyms.txt")
LONG_WORD = 5
"""Parts of compounds and typing errors are matched only in words of so many letters: "cat" is no "cart"."""
ALIKE = 0.85
"""Share of letters in the same order (difflib) of two spellings of a word: "adress" and "address" have 0.92."""
PART, SYNONYM = 0.8, 0.7
"""How much the match of a part or a misspelled word counts, and that of a synonym; the word itself counts 1."""

_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")
_SUFFIXES = (("ies", "y"), ("sses", "ss"), ("ing", ""), ("edly", ""), ("ed", ""), ("es", "e"), ("s", ""))
_COLLOQUIAL = """
i'm i've i'd i'll what's whats who's whos where's wheres when's how's it's that's there's let's don't doesn't didn't
isn't aren't can't won't you're we're they're u ur ppl plz im ive dont cant wanna gonna hey hi hello ok okay lol thing
things ones like also still even ever yet already really actually maybe
"""
_GERMAN = """
der die das den dem des ein eine einen einem einer eines und oder aber ist sind war waren bin bist hat habe haben wer
wie was wann wo wohin woher warum welche welcher welches mit ohne von vom zu zum zur im in am an auf aus bei für über
unter nach vor ich du er sie es wir ihr man mich dich uns euch mein dein sein unser euer nicht kein keine gibt gibts
kann darf muss soll wird werden wurde denn da hier dort auch noch schon mal bitte viel wieviel als wenn dann doch so
"""
_EMPTY = STOP_WORDS.union(_COLLOQUIAL.split(), _GERMAN.split())


def words_of(text: str) -> list[str]:
    """Return the distinct words of a text that say something, in order and in lower case."""
    found = dict.fromkeys(word.lower().replace("’", "'") for word in _WORD.findall(text))
    return [word for word in found if word not in _EMPTY]


@cache
def stem(word: str) -> str:
    """Return a word without its commonest English endings."""
    word = word.removesuffix("'s")
    for suffix, rest in _SUFFIXES:
        if word.endswith(suffix) and len(word) - len(suffix) >= 3 and not word.endswith("ss"):
            word = word.removesuffix(suffix) + rest
            break
    word = word.removesuffix("e") if len(word) > 3 else word
    return word[:-1] if len(word) > 4 and word[-1] == word[-2] else word


def best_match(word: str, words: Sequence[str]) -> float:
    """Return how well the best of the words matches, from 0 to 1."""
    return max((match(word, other) for other in words), default=0.0)


@cache
def match(word: str, other: str) -> float:
    if stem(word) == stem(other):
        return 1.0
    short, long = sorted((word, other), key=len)
    if len(short) >= LONG_WORD and (short in long or SequenceMatcher(None, short, long).ratio() >= ALIKE):
        return PART
    return SYNONYM if _meanings().get(stem(word), _NONE) & _meanings().get(stem(other), _NONE) else 0.0


_NONE: frozenset[int] = frozenset()


@cache
def _meanings() -> dict[str, frozenset[int]]:
    """Return the lines of the synonyms that hold each word."""
    found: dict[str, frozenset[int]] = {}
    for number, line in enumerate(_read_synonyms()):
        for word in line:
            found[stem(word)] = found.get(stem(word), _NONE) | {number}
    return found


def _read_synonyms() -> Iterator[list[str]]:
    for line in SYNONYMS.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            yield line.split()
