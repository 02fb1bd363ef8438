"""Chooses the two of several answers that a person is asked to compare."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from random import Random

from storage.conversations.degenerate import is_degenerate
from storage.database.enums import PairChoice
from storage.taste.learning import LearnedTaste

LESSONS = 0.5
"""Share of pairs that the taste model chooses; the others are random, so that it also learns from surprises."""


def choose_two(texts: Sequence[str], taste: LearnedTaste | None, rng: Random) -> tuple[tuple[int, int], PairChoice]:
    """Return the places of two of the texts in random order, and the way they were chosen.

    Broken ones are left out if there are two others.
    """
    sound = [place for place, text in enumerate(texts) if not is_degenerate(text)]
    pairs = list(combinations(sound if len(sound) > 1 else range(len(texts)), 2))
    if taste is not None and rng.random() < LESSONS:
        pair, chosen_by = max(pairs, key=lambda two: _lesson(texts, taste, *two)), PairChoice.LESSON
    else:
        pair, chosen_by = rng.choice(pairs), PairChoice.CHANCE
    first, second = rng.sample(pair, 2)
    return (first, second), chosen_by


def _lesson(texts: Sequence[str], taste: LearnedTaste, first: int, second: int) -> float:
    """Return how much a person's choice between the two texts would teach."""
    return float(taste.lessons((texts[first], True), [(texts[second], True)])[0])
