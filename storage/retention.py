"""What has been kept long enough goes: answers that no version learned from, and summaries that nobody went on with."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, and_, delete, func, or_, select
from sqlalchemy.orm import Session

from storage.conversations.memory import begin_anew
from storage.database.columns import utc_now
from storage.database.enums import ArenaStatus, Basis, RoundStatus
from storage.database.rows import changed_rows
from storage.database.tables import (
    AlertRow,
    ArenaAnswerRow,
    ArenaRow,
    ConversationRow,
    CorrectionRow,
    MemberRow,
    ReplyRow,
    RoundPairRow,
    RoundRow,
    VersionRow,
    VoteEventRow,
)
from storage.personalities.personalities import hold_personalities
from storage.settings import PrivacySettings

BATCH = 100
"""Answers that go in one transaction: few enough that no vote waits for them."""


@dataclass(frozen=True)
class Pruned:
    replies: int = 0
    votes: int = 0
    """Events, as they are kept."""
    corrections: int = 0
    summaries: int = 0
    memberships: int = 0

    def __bool__(self) -> bool:
        return self != Pruned()

    def __add__(self, other: Pruned) -> Pruned:
        return Pruned(
            self.replies + other.replies,
            self.votes + other.votes,
            self.corrections + other.corrections,
            self.summaries + other.summaries,
            self.memberships + other.memberships,
        )


def keeps_until(settings: PrivacySettings) -> datetime | None:
    """Return the moment before which nothing is kept that no version learned from; None where all is kept."""
    return utc_now() - timedelta(days=settings.retention_days) if settings.retention_days else None


def is_past(before: datetime) -> ColumnElement[bool]:
    """Select the answers that have been kept long enough.

    Kept are those that a version's manifest names, or that of a round under way, answers of arenas that are open, and
    what was said outside Discord, which holds nobody's data there.
    """
    lasting = select(RoundRow.id).where(
        or_(
            RoundRow.status.in_((RoundStatus.PUBLISHED, RoundStatus.RUNNING)),
            RoundRow.id.in_(select(VersionRow.round_id).where(VersionRow.round_id.is_not(None))),
        )
    )
    named = select(RoundPairRow.round_id).where(
        RoundPairRow.round_id.in_(lasting),
        or_(RoundPairRow.chosen_reply_id == ReplyRow.id, RoundPairRow.rejected_reply_id == ReplyRow.id),
    )
    corrected = (
        select(RoundPairRow.round_id)
        .join(CorrectionRow, CorrectionRow.id == RoundPairRow.correction_id)
        .where(RoundPairRow.round_id.in_(lasting), CorrectionRow.reply_id == ReplyRow.id)
    )
    undecided = (
        select(ArenaAnswerRow.arena_id)
        .join(ArenaRow)
        .where(
            ArenaAnswerRow.reply_id == ReplyRow.id,
            ArenaRow.status.in_((ArenaStatus.PREPARING, ArenaStatus.OPEN)),
        )
    )
    return and_(
        ReplyRow.created_at < before,
        or_(ReplyRow.basis.is_(None), ReplyRow.basis != Basis.LOCAL),
        ~named.exists(),
        ~corrected.exists(),
        ~undecided.exists(),
    )


def past_replies(session: Session, before: datetime, limit: int = BATCH) -> list[int]:
    """Return the ids of the oldest answers that have been kept long enough; looking for them holds nobody up."""
    return list(session.scalars(select(ReplyRow.id).where(is_past(before)).order_by(ReplyRow.id).limit(limit)))


def prune_replies(session: Session, before: datetime, reply_ids: Collection[int]) -> Pruned:
    """Delete those of the answers that may still go, with the votes, corrections and messages on them."""
    hold_personalities(session)  # or a round that is being planned would name what goes
    ids = session.scalars(select(ReplyRow.id).where(ReplyRow.id.in_(reply_ids), is_past(before))).all()
    votes, corrections = (
        session.scalar(select(func.count()).select_from(table).where(table.reply_id.in_(ids))) or 0
        for table in (VoteEventRow, CorrectionRow)
    )
    session.execute(delete(ReplyRow).where(ReplyRow.id.in_(ids)))
    return Pruned(len(ids), votes, corrections)


def prune_rest(session: Session, before: datetime) -> Pruned:
    """Drop summaries and ended alerts that are as old, and the dates of members whose votes and suggestions went.

    Of summaries so many as go in one transaction.
    """
    stale = select(ConversationRow.channel_id).where(ConversationRow.summary != "", ConversationRow.updated_at < before)
    summaries = begin_anew(session, session.scalars(stale.limit(BATCH)).all())
    voted = select(VoteEventRow.id).where(VoteEventRow.user_id == MemberRow.user_id).exists()
    wrote = select(CorrectionRow.id).where(CorrectionRow.author_id == MemberRow.user_id).exists()
    session.execute(delete(AlertRow).where(AlertRow.ended_at < before))
    gone = session.execute(delete(MemberRow).where(~voted, ~wrote))
    return Pruned(summaries=summaries, memberships=changed_rows(gone))


def count_past(session: Session, before: datetime) -> int:
    """Count the answers that have been kept long enough and are still there."""
    return session.scalar(select(func.count()).select_from(ReplyRow).where(is_past(before))) or 0
