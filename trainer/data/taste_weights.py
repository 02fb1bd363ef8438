"""How much everybody's votes weigh in the taste."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from storage.members import Pseudonym
from storage.taste.evidence import Opinion, Preference, TasteEvidence
from storage.taste.learning import LearnedTaste


def weigh_voters(evidence: TasteEvidence, taste: LearnedTaste) -> dict[Pseudonym, float]:
    weights: dict[Pseudonym, float] = defaultdict(float)
    said: Iterable[Opinion | Preference] = (*evidence.opinions, *evidence.choices)
    for one in said:
        weights[one.voter] += one.weight
    meanings = {meaning.kind: meaning.weight for meaning in taste.weak.meanings} if taste.weak else {}
    for sign in evidence.weak:  # whether it happened or not: both tell the square of its weight of what a vote tells
        weights[sign.voter] += sign.weight * meanings.get(sign.kind, 0.0) ** 2
    return weights
