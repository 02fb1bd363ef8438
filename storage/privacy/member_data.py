"""A member's data: a summary in numbers, and all of it for an export."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Column, func, select
from sqlalchemy.orm import Session

from storage.database.columns import SERVER, Fate, utc_now
from storage.database.database import vote_emoji_of
from storage.database.rows import count_rows
from storage.database.tables import (
    Base,
    ComparisonRow,
    ConsentRow,
    ConversationRow,
    ConversationSpeakerRow,
    CorrectionRow,
    DocumentRow,
    DocumentSpeakerRow,
    MemberNoteRow,
    MemberRow,
    OptOutRow,
    ReplyRow,
    ReplySourceRow,
    ReplySpeakerRow,
    RoundVoterRow,
    SittingPairRow,
    SittingRow,
    VoteCauseRow,
    VoteEventRow,
)
from storage.members import read_pseudonyms
from storage.privacy.ownership import naming_members
from storage.wording import message_link

ABOUT = (
    "Answers are complete if their prompt has only your messages. If others took part, the prompt is theirs as well: "
    "you get links to your own messages, and the answer if it was for you."
)
TOLD = (ReplyRow, VoteEventRow, CorrectionRow, MemberNoteRow)
"""Tables that an export describes in its own words."""
WITHHELD = {"vote_causes.settled_by", "quarantines.decided_by", "quarantines.reason"}
"""Columns about other people's actions on the row."""


@dataclass(frozen=True)
class MemberDataSummary:
    answers: int
    """Number of answers with words of theirs in the prompt."""
    votes: int
    """Number of answers that they voted on, withdrawn votes included."""
    causes: int
    choices: int
    """Number of pairs of answers that they compared."""
    suggestions: int
    withdrawn: int
    """Number of suggestions that they took back, which are stored until their answer is deleted."""
    notes: int
    documents: int
    """Number of documents with messages of theirs."""
    summaries: int
    """Number of summaries of conversations that they took part in."""
    memberships: int
    oldest: datetime | None
    consents_since: datetime | None
    opted_out_since: datetime | None


def summarize_member_data(session: Session, user_id: int) -> MemberDataSummary:
    """Count the stored data about the member, in all servers and in direct messages."""
    answers = select(ReplySpeakerRow.reply_id).where(ReplySpeakerRow.user_id == user_id)
    votes = select(VoteEventRow.reply_id).where(VoteEventRow.user_id == user_id).distinct()
    suggestions = select(CorrectionRow.id).where(CorrectionRow.author_id == user_id)
    documents = (
        select(DocumentSpeakerRow.document_id)
        .join(DocumentRow)
        .where(DocumentSpeakerRow.user_id == user_id, DocumentRow.removed_at.is_(None))
    )
    consent, opt_out = session.get(ConsentRow, user_id), session.get(OptOutRow, user_id)
    return MemberDataSummary(
        answers=count_rows(session, answers),
        votes=count_rows(session, votes),
        causes=count_rows(session, select(VoteCauseRow.reply_id).where(VoteCauseRow.user_id == user_id)),
        choices=count_rows(session, select(ComparisonRow.user_id).where(ComparisonRow.user_id == user_id)),
        suggestions=count_rows(session, suggestions.where(CorrectionRow.withdrawn_at.is_(None))),
        withdrawn=count_rows(session, suggestions.where(CorrectionRow.withdrawn_at.is_not(None))),
        notes=count_rows(session, select(MemberNoteRow.id).where(MemberNoteRow.user_id == user_id)),
        documents=count_rows(session, documents),
        summaries=count_rows(
            session, select(ConversationSpeakerRow.channel_id).where(ConversationSpeakerRow.user_id == user_id)
        ),
        memberships=count_rows(session, select(MemberRow.guild_id).where(MemberRow.user_id == user_id)),
        oldest=_oldest(session, user_id),
        consents_since=consent.given_at if consent else None,
        opted_out_since=opt_out.since if opt_out else None,
    )


def _oldest(session: Session, user_id: int) -> datetime | None:
    moments = (
        select(func.min(ReplyRow.created_at))
        .join(ReplySpeakerRow, ReplySpeakerRow.reply_id == ReplyRow.id)
        .where(ReplySpeakerRow.user_id == user_id),
        select(func.min(VoteEventRow.created_at)).where(VoteEventRow.user_id == user_id),
        select(func.min(ComparisonRow.created_at)).where(ComparisonRow.user_id == user_id),
        select(func.min(CorrectionRow.created_at)).where(CorrectionRow.author_id == user_id),
        select(func.min(MemberNoteRow.created_at)).where(MemberNoteRow.user_id == user_id),
    )
    return min((moment for query in moments if (moment := session.scalar(query)) is not None), default=None)


def export_member(session: Session, user_id: int) -> dict[str, Any]:
    """Return everything about the member; times are in ISO 8601, ids are text because JavaScript would round them."""
    pseudonym = read_pseudonyms(session).of(user_id)
    return {
        "format": "reactune-member",
        "format_version": 2,
        "made_at": _moment(utc_now()),
        "member": str(user_id),
        "about": ABOUT,
        "answers": list(_answers(session, user_id)),
        "votes": list(_votes(session, user_id)),
        "suggestions": list(_suggestions(session, user_id)),
        "notes": [
            {"text": row.text, "server": _id(row.guild_id or None), "written_at": _moment(row.created_at)}
            for row in session.scalars(select(MemberNoteRow).where(MemberNoteRow.user_id == user_id))
        ],
        "documents": list(_documents(session, user_id)),
        "summaries": list(_summaries(session, user_id)),
        "choices": list(_choices(session, user_id)),
        "rounds": [
            {"round": row.round_id, "share": row.share, "influence": row.influence}
            for row in session.scalars(select(RoundVoterRow).where(RoundVoterRow.pseudonym == pseudonym))
        ],
        **_records(session, user_id),
    }


def _records(session: Session, user_id: int) -> dict[str, list[dict[str, Any]]]:
    """Return the rows that name the member in all tables that have no description of their own."""
    found: dict[str, list[dict[str, Any]]] = {}
    for table, naming in naming_members(Fate.GONE, Fate.UNNAMED, Fate.KEPT):
        if table not in TOLD:
            columns = [
                column
                for column in Base.metadata.tables[table.__tablename__].columns
                if column.name != naming.key and str(column) not in WITHHELD
            ]
            rows = session.execute(select(*columns).where(naming == user_id))
            found[table.__tablename__] = [
                {column.name: _value(column, value) for column, value in zip(columns, row, strict=True)} for row in rows
            ]
    return found


def _value(column: Column[Any], value: Any) -> Any:
    if isinstance(value, datetime):
        return _moment(value)
    if isinstance(value, list):
        return [_id(one) for one in value]  # the servers of a session
    return _id(value) if SERVER in column.info else value


def _answers(session: Session, user_id: int) -> Iterator[dict[str, Any]]:
    """Yield the answers with words of theirs in the prompt, and those that they requested again."""
    spoken = select(ReplySpeakerRow.reply_id).where(ReplySpeakerRow.user_id == user_id)
    rows = session.scalars(
        select(ReplyRow).where(ReplyRow.id.in_(spoken) | (ReplyRow.author_id == user_id)).order_by(ReplyRow.id)
    )
    for row in rows.all():
        people = set(session.scalars(select(ReplySpeakerRow.user_id).where(ReplySpeakerRow.reply_id == row.id)))
        is_own, is_for_them = people == {user_id}, row.author_id == user_id
        asked = select(ReplySourceRow.message_id).where(ReplySourceRow.user_id == user_id)
        own = session.scalars(asked.where(ReplySourceRow.reply_id == row.id).order_by(ReplySourceRow.message_id))
        yield {
            "id": row.id,
            "at": _moment(row.created_at),
            "server": _id(row.guild_id),
            "channel": str(row.channel_id),
            "your_messages": [message_link(row.guild_id, row.channel_id, id_) for id_ in own],
            "prompt": row.messages if is_own else None,
            "answer": row.answer if is_own or is_for_them else None,
            "shared_with_others": not is_own,
            "training_basis": row.basis.value if row.basis else None,
        }


def _votes(session: Session, user_id: int) -> Iterator[dict[str, Any]]:
    rows, known = select(VoteEventRow).where(VoteEventRow.user_id == user_id), vote_emoji_of(session)
    for row in session.scalars(rows.order_by(VoteEventRow.id)):
        yield {
            "answer": row.reply_id,
            "message": str(row.message_id),
            "emoji": known.written(row.emoji),
            "set": row.added,
            "at": _moment(row.created_at),
        }


def _choices(session: Session, user_id: int) -> Iterator[dict[str, Any]]:
    """Yield the pairs of answers that they compared with `/choose` or in the console."""
    pairs = select(SittingPairRow).join(SittingRow).where(SittingRow.user_id == user_id)
    for row in session.scalars(pairs.order_by(SittingPairRow.id)):
        yield {
            "prompt": row.prompt,
            "first_answer": row.first_id,
            "second_answer": row.second_id,
            "choice": row.label.value if row.label else None,
            "at": _moment(row.labelled_at),
        }


def _suggestions(session: Session, user_id: int) -> Iterator[dict[str, Any]]:
    rows = select(CorrectionRow).where(CorrectionRow.author_id == user_id).order_by(CorrectionRow.id)
    for row in session.scalars(rows):
        yield {
            "answer": row.reply_id,
            "text": row.text,
            "at": _moment(row.created_at),
            "withdrawn_at": _moment(row.withdrawn_at),
            "training_basis": row.basis.value if row.basis else None,
        }


def _documents(session: Session, user_id: int) -> Iterator[dict[str, Any]]:
    """Yield the documents with messages of theirs; without the text if it has messages of others too."""
    made = select(DocumentSpeakerRow.document_id).where(DocumentSpeakerRow.user_id == user_id)
    rows = select(DocumentRow).where(DocumentRow.id.in_(made), DocumentRow.removed_at.is_(None))
    for row in session.scalars(rows).all():
        people = select(DocumentSpeakerRow.user_id).where(DocumentSpeakerRow.document_id == row.id)
        yield {
            "id": row.id,
            "server": str(row.guild_id),
            "title": row.title,
            "link": row.link,
            "text": row.text if set(session.scalars(people)) == {user_id} else None,
            "added_at": _moment(row.added_at),
        }


def _summaries(session: Session, user_id: int) -> Iterator[dict[str, Any]]:
    channels = select(ConversationSpeakerRow.channel_id).where(ConversationSpeakerRow.user_id == user_id)
    for row in session.scalars(select(ConversationRow).where(ConversationRow.channel_id.in_(channels))).all():
        people = select(ConversationSpeakerRow.user_id).where(ConversationSpeakerRow.channel_id == row.channel_id)
        is_own = set(session.scalars(people)) == {user_id}
        yield {
            "channel": str(row.channel_id),
            "text": row.summary if is_own else None,
            "written_at": _moment(row.updated_at),
        }


def _moment(moment: datetime | None) -> str | None:
    return moment.isoformat(timespec="seconds") if moment else None


def _id(id_: int | None) -> str | None:
    return None if id_ is None else str(id_)
