"""What became of an answer: its request, messages and votes, and the rounds that were trained on it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from storage.conversations.replies import find_by_message
from storage.database.enums import Outcome, RoundStatus
from storage.database.ids import parse_id
from storage.database.rows import from_row
from storage.database.tables import ReplyMessageRow, ReplyRow, RoundPairRow, RoundRow, VersionRow
from storage.releases.versions import find_version, name_of
from storage.votes.votes import votes_on


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
    message_id = parse_id(id_)
    if not rows and message_id is not None and (carried := find_by_message(session, message_id)):
        rows = [session.get_one(ReplyRow, carried.id)]
    return [_traced(session, row) for row in rows]


def trace_reply(session: Session, reply_id: int) -> TracedReply:
    """Return the way of a reply that exists."""
    return _traced(session, session.get_one(ReplyRow, reply_id))


def _traced(session: Session, row: ReplyRow) -> TracedReply:
    messages = session.scalars(
        select(ReplyMessageRow.message_id).where(ReplyMessageRow.reply_id == row.id).order_by(ReplyMessageRow.position)
    )
    votes = Counter(map(str, votes_on(session, row.id).values()))
    return from_row(
        TracedReply,
        row,
        version=name_of(find_version(session, row.version_id)),
        message_ids=tuple(messages),
        votes=dict(sorted(votes.items())),
        rounds=tuple(_rounds(session, row.id)),
    )


def _rounds(session: Session, reply_id: int) -> list[TracedRound]:
    ids = select(RoundPairRow.round_id).where(
        or_(RoundPairRow.chosen_reply_id == reply_id, RoundPairRow.rejected_reply_id == reply_id)
    )
    rounds = session.execute(
        select(RoundRow.id, RoundRow.status, VersionRow.number)
        .outerjoin(VersionRow, VersionRow.round_id == RoundRow.id)
        .where(RoundRow.id.in_(ids))
        .order_by(RoundRow.id)
    )
    return [TracedRound(id_, status, f"v{number}" if number else None) for id_, status, number in rounds]
