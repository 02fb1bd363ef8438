"""What is kept of one member, in numbers."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from storage.database.tables import (
    ConsentRow,
    ConversationSpeakerRow,
    CorrectionRow,
    DepartureRow,
    DocumentRow,
    DocumentSpeakerRow,
    MemberNoteRow,
    MemberRow,
    ReplyRow,
    ReplySpeakerRow,
    VoteCauseRow,
    VoteEventRow,
)


@dataclass(frozen=True)
class Holdings:
    answers: int
    """Whose prompts hold their words."""
    votes: int
    """Answers that they voted on, also where the vote was taken back."""
    causes: int
    suggestions: int
    """Withdrawn ones included."""
    notes: int
    documents: int
    """Made of their messages."""
    summaries: int
    """Of conversations that they took part in."""
    memberships: int
    oldest: datetime | None
    consents_since: datetime | None
    departures: int
    """Servers that they left and in which something is still kept."""


def count_holdings(session: Session, user_id: int) -> Holdings:
    """Count what is kept of the member, wherever they wrote it."""
    answers = select(ReplySpeakerRow.reply_id).where(ReplySpeakerRow.user_id == user_id)
    votes = select(VoteEventRow.reply_id).where(VoteEventRow.user_id == user_id).distinct()
    documents = (
        select(DocumentSpeakerRow.document_id)
        .join(DocumentRow)
        .where(DocumentSpeakerRow.user_id == user_id, DocumentRow.removed_at.is_(None))
    )
    consent = session.get(ConsentRow, user_id)
    return Holdings(
        answers=_count(session, answers),
        votes=_count(session, votes),
        causes=_count(session, select(VoteCauseRow.reply_id).where(VoteCauseRow.user_id == user_id)),
        suggestions=_count(session, select(CorrectionRow.id).where(CorrectionRow.author_id == user_id)),
        notes=_count(session, select(MemberNoteRow.id).where(MemberNoteRow.user_id == user_id)),
        documents=_count(session, documents),
        summaries=_count(
            session, select(ConversationSpeakerRow.channel_id).where(ConversationSpeakerRow.user_id == user_id)
        ),
        memberships=_count(session, select(MemberRow.guild_id).where(MemberRow.user_id == user_id)),
        oldest=_oldest(session, user_id),
        consents_since=consent.given_at if consent else None,
        departures=_count(session, select(DepartureRow.guild_id).where(DepartureRow.user_id == user_id)),
    )


def _oldest(session: Session, user_id: int) -> datetime | None:
    moments = (
        select(func.min(ReplyRow.created_at))
        .join(ReplySpeakerRow, ReplySpeakerRow.reply_id == ReplyRow.id)
        .where(ReplySpeakerRow.user_id == user_id),
        select(func.min(VoteEventRow.created_at)).where(VoteEventRow.user_id == user_id),
        select(func.min(CorrectionRow.created_at)).where(CorrectionRow.author_id == user_id),
        select(func.min(MemberNoteRow.created_at)).where(MemberNoteRow.user_id == user_id),
    )
    return min((moment for query in moments if (moment := session.scalar(query)) is not None), default=None)


def _count(session: Session, rows: Select[int]) -> int:
    return session.scalar(select(func.count()).select_from(rows.subquery())) or 0
