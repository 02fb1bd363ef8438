"""The database's part of alerts: failed rounds and quarantined votes."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from storage.database.enums import QuarantineStatus, RoundStatus
from storage.database.rows import read_first
from storage.database.tables import QuarantinedVoteRow, QuarantineRow, RoundRow
from storage.personalities.personalities import list_personalities
from storage.training.rounds import OPEN, Round


@dataclass(frozen=True)
class AlertFacts:
    """The facts about one personality."""

    personality_id: int
    name: str
    failed_round: Round | None
    """The last finished round, if it failed or was interrupted."""
    quarantined_votes: int
    """Number of votes in quarantines that no admin has decided on."""


def read_facts(session: Session) -> list[AlertFacts]:
    """Return the facts about each personality."""
    votes = _quarantined_votes(session)
    return [
        AlertFacts(p.id, p.name, _failed_round(session, p.id), votes.get(p.id, 0)) for p in list_personalities(session)
    ]


def _failed_round(session: Session, personality_id: int) -> Round | None:
    finished = select(RoundRow).where(RoundRow.personality_id == personality_id, RoundRow.status.not_in(OPEN))
    last = read_first(session, Round, finished.order_by(RoundRow.id.desc()))
    return last if last and last.status in (RoundStatus.FAILED, RoundStatus.INTERRUPTED) else None


def _quarantined_votes(session: Session) -> dict[int, int]:
    """Return {personality id: number of votes in its open quarantines}."""
    rows = session.execute(
        select(QuarantineRow.personality_id, func.count())
        .join(QuarantinedVoteRow)
        .where(QuarantineRow.status == QuarantineStatus.OPEN)
        .group_by(QuarantineRow.personality_id)
    )
    return dict(rows.all())
