"""The share of answers in chat that come as blind pairs: larger while people's choices decide something."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from storage.database.enums import TrainingSource
from storage.database.rows import any_row, count_rows
from storage.database.tables import ComparisonRow, ReplyRow, RoundRow, VersionRow
from storage.releases.bases import of_base_in_use
from storage.releases.versions import Version

BEFORE_FIRST_ROUND = 0.2
WHILE_ONE_WAITS = 0.3
"""Share while a version waits. Simulated with 40 votes a week: ready after 1.4 to 2.0 weeks, and after 2.7 to 5.9 if a
third as many are asked."""
FIRST_CHOICES = 40
"""Number of choices that a first round should have."""


def read_pair_share(session: Session, personality_id: int, rival: Version | None, configured: float) -> float:
    """Return the share of answers that come with a second one; 0 in the settings always means none."""
    if not configured:
        return 0.0
    if rival is not None:
        return max(configured, WHILE_ONE_WAITS)
    return max(configured, BEFORE_FIRST_ROUND) if first_choices_left(session, personality_id) else configured


def first_choices_left(session: Session, personality_id: int) -> int | None:
    """Return how many more choices the first round on votes should have; None once it made a version of this base.

    A starter, made from a card's examples or imported, has not learned from any choices yet.
    """
    learned = (
        select(VersionRow.id)
        .join(RoundRow, RoundRow.id == VersionRow.round_id)
        .where(
            VersionRow.personality_id == personality_id,
            RoundRow.learns_from == TrainingSource.VOTES,
            of_base_in_use(session),
        )
    )
    if any_row(session, learned):
        return None
    chosen = (
        select(ComparisonRow.user_id)
        .join(ReplyRow, ReplyRow.id == ComparisonRow.first_id)
        .where(ReplyRow.personality_id == personality_id)
        .limit(FIRST_CHOICES)
    )
    return FIRST_CHOICES - count_rows(session, chosen)
