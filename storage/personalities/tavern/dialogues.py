"""Example dialogues of SillyTavern: blocks that begin with <START>, whose turns begin with {{user}}: or {{char}}:."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from storage.personalities.cards import MAX_EXAMPLES, MAX_TURN_CHARS, MAX_TURNS

_START = re.compile(r"^[ \t]*<START>", re.IGNORECASE | re.MULTILINE)
_LABEL = re.compile(
    r"^(?:(?P<person>\{\{user\}\}|<user>)|\{\{char\}\}|<bot>|<char>)[ \t]*:[ \t]?", re.IGNORECASE | re.MULTILINE
)


@dataclass(frozen=True)
class Dialogues:
    examples: tuple[tuple[str, ...], ...]
    """Dialogues as their turns: a person begins, and the character has the last word."""
    samples: tuple[str, ...]
    """The character's words outside of any dialogue with a person."""
    left_out: int
    """Number of turns that are in neither."""


@dataclass(frozen=True)
class _Turn:
    is_person: bool
    text: str


def parse_dialogues(text: str, name: str, speak: Callable[[str], str]) -> Dialogues:
    """Return the dialogues in a card's mes_example, each turn as `speak` returns it.

    In a text without macros, turns begin with "You:" or "User:" and the character's name.
    """
    label = _LABEL if _LABEL.search(text) or not name else _label_of(name)
    examples: list[tuple[str, ...]] = []
    samples: list[str] = []
    spoken = 0
    for block in _START.split(text):
        turns = list(_turns(block, label, speak))
        spoken += len(turns)
        if not any(turn.is_person for turn in turns):
            samples += [turn.text for turn in turns]
        elif all(len(turn.text) <= MAX_TURN_CHARS for turn in turns):
            examples += _alternating(turns)
    kept = examples[:MAX_EXAMPLES]
    return Dialogues(tuple(kept), tuple(samples), spoken - len(samples) - sum(map(len, kept)))


def _label_of(name: str) -> re.Pattern[str]:
    return re.compile(rf"^(?:(?P<person>user|you)|{re.escape(name)})[ \t]*:[ \t]?", re.IGNORECASE | re.MULTILINE)


def _turns(block: str, label: re.Pattern[str], speak: Callable[[str], str]) -> Iterator[_Turn]:
    """Yield the turns, joining a speaker's neighbouring ones; text without a label is the character's."""
    labels = list(label.finditer(block))
    bounds = [*(found.start() for found in labels), len(block)]
    texts = [block[: bounds[0]], *(block[found.end() : end] for found, end in zip(labels, bounds[1:], strict=True))]
    speakers = [False, *(found["person"] is not None for found in labels)]
    spoken = [_Turn(who, speak(text).strip()) for who, text in zip(speakers, texts, strict=True)]
    for is_person, turns in groupby((turn for turn in spoken if turn.text), key=lambda turn: turn.is_person):
        yield _Turn(is_person, "\n".join(turn.text for turn in turns))


def _alternating(turns: Sequence[_Turn]) -> Iterator[tuple[str, ...]]:
    """Yield dialogues of up to MAX_TURNS turns, from the first one of a person to the last one of the character."""
    first = next(at for at, turn in enumerate(turns) if turn.is_person)
    texts = [turn.text for turn in turns[first:]]
    whole = len(texts) // 2 * 2
    for start in range(0, whole, MAX_TURNS):
        yield tuple(texts[start : min(start + MAX_TURNS, whole)])
