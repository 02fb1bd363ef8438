"""Decides whether to offer a personality its first version, which a round makes from the examples on its card."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from storage.database.rows import any_row
from storage.database.tables import RoundRow, VersionRow
from storage.personalities.personalities import Personality
from storage.training.rounds import OPEN, TRAINED

MIN_EXAMPLES = 8
"""Minimum examples for a first version: two of them decide when training stops."""


def offered_examples(session: Session, personality: Personality) -> int:
    """Return the number of examples it could learn now; 0 if it has too few, a version or a round that made one."""
    number = len(personality.card.examples)
    version = select(VersionRow).where(VersionRow.personality_id == personality.id)
    made = select(RoundRow).where(RoundRow.personality_id == personality.id, RoundRow.status.in_((*OPEN, *TRAINED)))
    is_offered = number >= MIN_EXAMPLES and not any_row(session, version) and not any_row(session, made)
    return number if is_offered else 0
