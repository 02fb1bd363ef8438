"""Traces a request: its replies, their messages and votes, and the rounds that were trained on them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from storage.conversations.replies import find_by_message
from storage.database.enums import Outcome, RoundStatus
from storage.database.tables import ReplyMessageRow, ReplyRow, RoundPairRow, VersionRow
from storage.releases.versions import find_version, name_of
from storage.training.rounds import require_round
from storage.votes.votes import votes_on

LARGEST_ID = 2**63 - 1
ID_DIGITS = 19


@dataclass(frozen=True)
class TracedRound:
    """A round that was trained on the reply, and the version that it made."""

    id: int
    status: RoundStatus
    version: str | None


@dataclass(frozen=True)
class TracedReply:
    id: int
    request_id: str | None
    created_at: datetime
    version: str
    """The version that answered."""
    outcome: Outcome
    total_s: float | None
    channel_id: int
    source_message_id: int | None
    message_ids: tuple[int, ...]
    votes: dict[str, int]
    """Number of current votes by kind."""
    rounds: tuple[TracedRound, ...]


def trace(session: Session, id_: str) -> list[TracedReply]:
    """Return the replies of a request, given its id or the id of a Discord message with one of them."""
    rows = session.scalars(select(ReplyRow).where(ReplyRow.request_id == id_).order_by(ReplyRow.id)).all()
    if not rows and _is_id(id_) and (carried := find_by_message(session, int(id_))):
        rows = [session.get_one(ReplyRow, carried.id)]
    return [_traced(session, row) for row in rows]


def _is_id(text: str) -> bool:
    return text.isdecimal() and len(text) <= ID_DIGITS and int(text) <= LARGEST_ID


def _traced(session: Session, row: ReplyRow) -> TracedReply:
    messages = session.scalars(
        select(ReplyMessageRow.message_id).where(ReplyMessageRow.reply_id == row.id).order_by(ReplyMessageRow.position)
    )
    votes = [str(vote) for vote in votes_on(session, row.id).values()]
    return TracedReply(
        id=row.id,
        request_id=row.request_id,
        created_at=row.created_at,
        version=name_of(find_version(session, row.version_id)),
        outcome=row.outcome,
        total_s=row.total_s,
        channel_id=row.channel_id,
        source_message_id=row.source_message_id,
        message_ids=tuple(messages),
        votes={kind: votes.count(kind) for kind in sorted(set(votes))},
        rounds=tuple(_rounds(session, row.id)),
    )


def _rounds(session: Session, reply_id: int) -> list[TracedRound]:
    ids = session.scalars(
        select(RoundPairRow.round_id)
        .where(or_(RoundPairRow.chosen_reply_id == reply_id, RoundPairRow.rejected_reply_id == reply_id))
        .distinct()
        .order_by(RoundPairRow.round_id)
    ).all()
    return [TracedRound(id_, require_round(session, id_).status, _made_by(session, id_)) for id_ in ids]


def _made_by(session: Session, round_id: int) -> str | None:
    number = session.scalar(select(VersionRow.number).where(VersionRow.round_id == round_id))
    return f"v{number}" if number is not None else None
