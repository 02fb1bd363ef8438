"""Measures the agreement of people who labelled the same pairs of answers."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from itertools import combinations

from sqlalchemy import select
from sqlalchemy.orm import Session

from storage.database.enums import Label
from storage.database.tables import SittingPairRow, SittingRow

SAME = "same"


@dataclass(frozen=True)
class RaterAgreement:
    pairs: int
    """Number of times that two people labelled the same two answers."""
    share: float
    """Share of these with the same label: the first, the second, or about the same."""
    kappa: float | None
    """Agreement beyond chance, Cohen's kappa (Cohen 1960): 1 always, 0 as by chance; None if it is not defined."""


def read_rater_agreement(session: Session, personality_id: int) -> RaterAgreement | None:
    """Return people's agreement; None while no pair has two labels."""
    rows = session.execute(
        select(SittingPairRow.first_id, SittingPairRow.second_id, SittingRow.user_id, SittingPairRow.label)
        .join(SittingRow)
        .where(
            SittingRow.personality_id == personality_id,
            SittingPairRow.label.is_not(None),
            SittingPairRow.label != Label.SKIPPED,
        )
        .order_by(SittingPairRow.id)
    )
    said: dict[tuple[int, int], dict[int, str]] = defaultdict(dict)
    for first_id, second_id, user_id, label in rows:
        said[first_id, second_id][user_id] = label.value if label in (Label.FIRST, Label.SECOND) else SAME
    both = [two for labels in said.values() for two in combinations(labels.values(), 2)]
    return measure_agreement(both) if both else None


def measure_agreement(labels: list[tuple[str, str]]) -> RaterAgreement:
    """Return the agreement of two people from their labels of the same pairs. Pure."""
    share = sum(one == other for one, other in labels) / len(labels)
    ones, others = (Counter(said) for said in zip(*labels, strict=True))
    by_chance = sum(ones[label] * others[label] for label in ones) / len(labels) ** 2
    kappa = (share - by_chance) / (1 - by_chance) if by_chance < 1 else None
    return RaterAgreement(len(labels), share, kappa)
