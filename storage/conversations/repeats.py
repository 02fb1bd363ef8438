"""Tells answers that repeat examples word for word although another message was answered."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from storage.conversations.degenerate import WORDS

LEAST_REPEATED = 5
"""Words of an answer: anybody says "Good morning!" or "I don't know."."""
RUN = 4
"""Words in a row by which an answer is pieced together. docs/gate.md has what longer and shorter ones tell."""

Exchanges = Iterable[tuple[str, str]]
"""Messages with their answers."""


def repeats_answer(message: str, answer: str, examples: Exchanges) -> bool:
    """Return whether it is the whole answer of an example to another message; case, spaces and signs do not matter."""
    said = _words(answer)
    return len(said) >= LEAST_REPEATED and any(said == shown for shown in _of_others(message, examples))


def repeats_pieces(message: str, answer: str, examples: Exchanges) -> bool:
    """Return whether at least half of its words stand in such runs in the answers of examples to other messages."""
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
