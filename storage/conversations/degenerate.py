"""Recognises answers that are broken, whatever members' taste, and answers that repeat an example word for word."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import groupby
from operator import eq

LOOP_TOKENS = 8
"""Shortest stretch of words that counts as a loop, so that "ha ha ha" does not."""
LOOP_REPEATS = 3
LOOP_SHARE = 0.25
STUTTER_CHARS = 30
MIN_EMOJI_CHAIN = 8
# Chinese, Japanese and Korean are written without spaces between words, so each character counts as one.
WORDS = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|[^\W_]+")
STUTTER = re.compile(r"(.{1,12}?)\1{4,}", re.DOTALL)
EAST_ASIAN = frozenset({"CJK", "HIRAGANA", "KATAKANA", "HANGUL", "FULLWIDTH", "HALFWIDTH", "BOPOMOFO"})
LEAST_REPEATED = 5
"""Minimum number of words that count as a repeat: anybody says "Good morning!" or "I don't know."."""
RUN = 4
"""Words in a row that count as copied. docs/internals/statistics.md compares longer and shorter runs."""

Exchanges = Iterable[tuple[str, str]]
"""(message, answer) pairs."""


def is_degenerate(answer: str) -> bool:
    """Return whether an answer has no words, or consists of loops, emoji chains or mixed-up characters.

    Short answers and all scripts pass; members judge taste.
    """
    words = [word.lower() for word in WORDS.findall(answer)]
    return (
        not words
        or _repeats_lines(answer)
        or _loops(words)
        or _stutters(answer)
        or (not answer.isascii() and _is_broken_beyond_ascii(answer, words))
    )


def _is_broken_beyond_ascii(answer: str, words: Sequence[str]) -> bool:
    return _chains_emoji(answer, len(words)) or _mixes_scripts(words) or _is_undecodable(answer)


def _repeats_lines(answer: str) -> bool:
    lines = [line.strip() for line in answer.splitlines() if line.strip()]
    most_common = max(Counter(lines).values(), default=0)
    return most_common >= LOOP_REPEATS and most_common > len(lines) / 2


def _loops(words: Sequence[str]) -> bool:
    """Return whether a phrase of any length is repeated immediately, at least LOOP_REPEATS times in total."""
    longest_period = len(words) // LOOP_REPEATS
    enough = max(LOOP_TOKENS, LOOP_SHARE * len(words))
    for period in range(1, longest_period + 1):
        same = list(map(eq, words, words[period:]))
        shortest = max(enough, LOOP_REPEATS * period) - period
        # Counting is ten times as fast as looking for runs, and nearly always enough.
        if same.count(True) >= shortest and _longest_run(same) >= shortest:
            return True
    return False


def _longest_run(flags: Iterable[bool]) -> int:
    return max((len(list(run)) for flag, run in groupby(flags) if flag), default=0)


def _stutters(answer: str) -> bool:
    """Return whether letters or signs repeated without a space make up more than half of the answer."""
    stuttered = sum(len(found[0]) for found in STUTTER.finditer(answer) if len(found[0]) >= STUTTER_CHARS)
    return stuttered > len(answer) / 2


def _chains_emoji(answer: str, words: int) -> bool:
    emoji = sum(unicodedata.category(character) == "So" for character in answer)
    return emoji >= MIN_EMOJI_CHAIN and emoji > words


def _mixes_scripts(words: Sequence[str]) -> bool:
    """Return whether more than a quarter of the words, and at least two, mix two alphabets."""
    mixed = sum(
        len({_script(character) for character in word if character.isalpha()} - EAST_ASIAN) > 1
        for word in words
        if not word.isascii()
    )
    return mixed >= 2 and mixed > len(words) / 4


def _script(letter: str) -> str:
    return unicodedata.name(letter, "UNKNOWN").partition(" ")[0]


def _is_undecodable(answer: str) -> bool:
    """Return whether many characters are broken; a single one at the end means that the answer was cut inside it."""
    broken = sum(character == "\ufffd" or unicodedata.category(character) in ("Co", "Cn") for character in answer)
    return broken > 1 and broken > len(answer) / 20


def repeats_answer(message: str, answer: str, examples: Exchanges) -> bool:
    """Return whether this is the whole answer of an example to another message, ignoring case, spaces and signs."""
    said = _words(answer)
    return len(said) >= LEAST_REPEATED and any(said == shown for shown in _of_others(message, examples))


def repeats_pieces(message: str, answer: str, examples: Exchanges) -> bool:
    """Return whether at least half of the words stand in runs copied from examples' answers to other messages."""
    said = _words(answer)
    known = {run for shown in _of_others(message, examples) for run in _runs(shown)}
    repeated = {place + each for place, run in enumerate(_runs(said)) if run in known for each in range(RUN)}
    return len(said) >= LEAST_REPEATED and 2 * len(repeated) >= len(said)


def _of_others(message: str, examples: Exchanges) -> Iterable[Sequence[str]]:
    asked = _words(message)
    return (_words(shown) for other, shown in examples if _words(other) != asked)


def _runs(words: Sequence[str]) -> list[tuple[str, ...]]:
    return [tuple(words[start : start + RUN]) for start in range(len(words) - RUN + 1)]


def _words(text: str) -> Sequence[str]:
    return [word.casefold() for word in WORDS.findall(text)]
