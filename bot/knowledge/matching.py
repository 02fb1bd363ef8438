"""Matches the words of questions and lines, allowing for endings, synonyms, typing errors and compounds."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import cache
from itertools import pairwise
from pathlib import Path

from storage.knowledge.words import STOP_WORDS

SYNONYMS = Path(__file__).with_name("synonyms.txt")
LONG_WORD = 5
"""Fewest letters of a word in which parts and typing errors are matched: "cat" is not "cart"."""
ALIKE = 0.85
"""Share of letters in the same order (difflib) of two spellings of a word: "adress" and "address" have 0.92."""
SHARED_PAIRS = 0.4
"""Two spellings of a word share at least this share of the pairs of letters of the longer one."""
PART, SYNONYM = 0.8, 0.7
"""Weights of matching a part or a misspelled word, and of matching a synonym; the word itself counts 1."""

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


def stem(word: str) -> str:
    """Return a word without its commonest English endings."""
    word = word.removesuffix("'s")
    for suffix, rest in _SUFFIXES:
        if word.endswith(suffix) and len(word) - len(suffix) >= 3 and not word.endswith("ss"):
            word = word.removesuffix(suffix) + rest
            break
    word = word.removesuffix("e") if len(word) > 3 else word
    return word[:-1] if len(word) > 4 and word[-1] == word[-2] else word


@dataclass(frozen=True)
class Word:
    """A word with the properties that decide which others match it."""

    text: str
    stem: str
    meanings: frozenset[int]
    pairs: frozenset[str]
    """All pairs of adjacent letters; empty for a short word."""

    @classmethod
    def of(cls, text: str) -> Word:
        pairs = [a + b for a, b in pairwise(text)] if len(text) >= LONG_WORD else ()
        return cls(text, stem(text), _meanings().get(stem(text), _NONE), frozenset(pairs))

    def match(self, other: Word) -> float:
        """Return the match of another word with this one, from 0 to 1."""
        if self.stem == other.stem:
            return 1.0
        if self.pairs and other.pairs and self._is_like(other):
            return PART
        return 0.0 if self.meanings.isdisjoint(other.meanings) else SYNONYM

    def _is_like(self, other: Word) -> bool:
        """Return whether one word is a part of the other, or is spelled like it."""
        shared = len(self.pairs & other.pairs)
        fewer = min(len(self.pairs), len(other.pairs))
        if shared == fewer and (self.text in other.text or other.text in self.text):
            return True
        # Comparing letters is slow, and words that share few pairs are not alike.
        if shared < SHARED_PAIRS * max(len(self.pairs), len(other.pairs)):
            return False
        short, long = sorted((self.text, other.text), key=len)
        return SequenceMatcher(None, short, long).ratio() >= ALIKE


def best_match(word: str, words: Iterable[str]) -> float:
    """Return the match of the best of the words, from 0 to 1."""
    asked = Word.of(word)
    return max((asked.match(Word.of(other)) for other in words), default=0.0)


def match_all(words: Sequence[str], texts: Sequence[Sequence[str]]) -> dict[str, list[float]]:
    """Return {word: the match of each text's best word}; the words are few."""
    held = {other: Word.of(other) for text in texts for other in text}
    found = {}
    for word in words:
        asked = Word.of(word)
        matches = {other: match for other, one in held.items() if (match := asked.match(one))}
        found[word] = [max((matches.get(other, 0.0) for other in text), default=0.0) for text in texts]
    return found


_NONE: frozenset[int] = frozenset()


@cache
def _meanings() -> dict[str, frozenset[int]]:
    """Return the lines of the synonyms that hold each word."""
    found: dict[str, frozenset[int]] = {}
    for number, line in enumerate(SYNONYMS.read_text(encoding="utf-8").splitlines()):
        if not line.startswith("#"):
            for word in map(stem, line.split()):
                found[word] = found.get(word, _NONE) | {number}
    return found
