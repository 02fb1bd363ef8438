"""Recognises answers that repeat an example word for word in reply to another message."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from storage.conversations.degenerate import WORDS

LEAST_REPEATED = 5
"""Minimum number of words that count as a repeat: anybody says "Good morning!" or "I don't know."."""
RUN = 4
"""Words in a row that count as copied. docs/internals/statistics.md compares longer and shorter runs."""

Exchanges = Iterable[tuple[str, str]]
"""(message, answer) pairs."""


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
