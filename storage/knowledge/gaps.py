"""Gaps in a server's knowledge: answers with wrong facts that members reported and no admin has settled."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, func, or_, select, update
from sqlalchemy.orm import Session

from storage.conversations.replies import message_links
from storage.database.enums import Cause, Origin
from storage.database.rows import changed_rows
from storage.database.tables import ReplyRow, VoteCauseRow, VoteEventRow
from storage.errors import GapConflict
from storage.votes.votes import Vote, net_count, votes_on

UNSETTLED = (VoteCauseRow.cause == Cause.WRONG_FACT, VoteCauseRow.settled_by.is_(None))
MOST_READ = 200
"""Maximum number of gaps that are shown, newest first; older ones appear as these are settled."""


@dataclass(frozen=True)
class Gap:
    """One answer that members reported."""

    reply_id: int
    channel_id: int
    messages: list[dict[str, str]]
    """The question, as chat messages."""
    answer: str
    members: int
    """Number of members who reported a wrong fact and, if the answer takes votes, keep their 👎."""
    document_ids: tuple[int, ...]
    """Documents that the answer quoted."""
    link: str | None
    asked_at: datetime


def open_gaps(
    session: Session,
    guild_id: int,
    channels: Collection[int] | None = None,
    among: Collection[int] | None = None,
) -> list[Gap]:
    """Return the server's newest unsettled gaps in these channels (None: in all), newest first.

    `among` are the answers that matter (None: all).
    """
    reported = _reports(session, channels).where(ReplyRow.guild_id == guild_id)
    if among is not None:
        reported = reported.where(ReplyRow.id.in_(among))
    newest = select(ReplyRow).where(ReplyRow.id.in_(reported.correlate(None))).order_by(ReplyRow.id.desc())
    rows = session.scalars(newest.limit(MOST_READ)).all()
    links = message_links(session, select(ReplyRow.id).where(ReplyRow.id.in_([row.id for row in rows])))
    return [_gap(session, row, links.get(row.id)) for row in rows]


def count_gaps(session: Session, channels: Collection[int] | None) -> dict[int, int]:
    """Return {server: number of gaps} in these channels (None: in all)."""
    reported = ReplyRow.id.in_(_reports(session, channels).correlate(None))
    per_server = select(ReplyRow.guild_id, func.count()).where(reported).group_by(ReplyRow.guild_id)
    return {guild_id: number for guild_id, number in session.execute(per_server) if guild_id is not None}


def _reports(session: Session, channels: Collection[int] | None) -> Select[Any]:
    """Select the answer of each report that still stands, in these channels (None: in all)."""
    up, down = (net_count(session, said) > 0 for said in Vote)
    reporters = (
        select(VoteCauseRow.reply_id)
        .outerjoin(
            VoteEventRow,
            (VoteEventRow.reply_id == VoteCauseRow.reply_id) & (VoteEventRow.user_id == VoteCauseRow.user_id),
        )
        .join(ReplyRow, ReplyRow.id == VoteCauseRow.reply_id)
        .where(*UNSETTLED)
        .group_by(VoteCauseRow.reply_id, VoteCauseRow.user_id, ReplyRow.origin)
        .having(or_(ReplyRow.origin == Origin.FIXED, and_(down, ~up)))
    )
    return reporters if channels is None else reporters.where(_in(channels))


def _in(channels: Collection[int]) -> ColumnElement[bool]:
    return (ReplyRow.channel_id + 0).in_(channels)  # avoids the index: there are far more answers than causes


def is_gap(session: Session, reply_id: int) -> bool:
    """Return whether a member reports a wrong fact in the answer, and nobody has settled it."""
    return _members(session, reply_id) > 0


def settle_gaps(session: Session, reply_ids: Collection[int], by: str) -> None:
    """Settle the gaps, because a document was added or none is needed; raises GapConflict if all are settled."""
    unsettled = update(VoteCauseRow).where(VoteCauseRow.reply_id.in_(reply_ids), *UNSETTLED)
    if not changed_rows(session.execute(unsettled.values(settled_by=by))):
        raise GapConflict


def _gap(session: Session, row: ReplyRow, link: str | None) -> Gap:
    return Gap(
        reply_id=row.id,
        channel_id=row.channel_id,
        messages=row.messages,
        answer=row.answer,
        members=_members(session, row.id),
        document_ids=tuple(passage["document_id"] for passage in row.retrieved),
        link=link,
        asked_at=row.created_at,
    )


def _members(session: Session, reply_id: int) -> int:
    """Return the number of members who report a wrong fact and, if the answer takes votes, keep their 👎."""
    reporters = session.scalars(select(VoteCauseRow.user_id).where(VoteCauseRow.reply_id == reply_id, *UNSETTLED)).all()
    if reporters and session.get_one(ReplyRow, reply_id).origin is Origin.FIXED:
        return len(reporters)
    votes = votes_on(session, reply_id) if reporters else {}
    return sum(votes.get(user) is Vote.DOWN for user in reporters)
