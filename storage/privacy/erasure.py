"""Removes what is no longer to be kept here: deleted messages and channels, and servers and members that left."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, Select, and_, delete, false, or_, select, union, update
from sqlalchemy.orm import Session

from storage.conversations.memory import drop_summaries
from storage.database.enums import NOBODY, Origin
from storage.database.rows import changed_rows
from storage.database.tables import (
    ArenaRow,
    BindingRow,
    ConversationRow,
    ConversationSpeakerRow,
    CorrectionRow,
    DocumentRow,
    DocumentSourceRow,
    DocumentSpeakerRow,
    MemberRow,
    QuarantinedVoteRow,
    ReplyMessageRow,
    ReplyRow,
    ReplySourceRow,
    ReplySpeakerRow,
    VoteCauseRow,
    VoteEventRow,
)
from storage.knowledge.documents import erase_documents
from storage.personalities.personalities import lock_personalities
from storage.privacy.consent import delete_member
from storage.privacy.marked_versions import ReplyIds, lock_erasures, mark_versions_trained_on

NONE = select(CorrectionRow.id).where(false())


@dataclass(frozen=True)
class Erased:
    """What went, and the names of the versions that had learned from it."""

    replies: int = 0
    summaries: int = 0
    """Of conversations, which are begun anew."""
    documents: int = 0
    marked: tuple[str, ...] = ()


def is_kept(session: Session, channel_id: int, message_ids: Collection[int]) -> bool:
    """Return whether the text of one of the Discord messages is kept in any form."""
    kept: tuple[ReplyIds, ...] = (
        _holding(channel_id, message_ids),
        _summaries_of(channel_id, message_ids),
        select(DocumentSourceRow.document_id).where(DocumentSourceRow.message_id.in_(message_ids)),
    )
    return any(session.scalar(query.limit(1)) is not None for query in kept)


def erase_messages(session: Session, channel_id: int, message_ids: Collection[int]) -> Erased:
    """Remove the text of Discord messages that were deleted, wherever it stands, and mark what learned from it.

    An answer goes with any of its own messages, and with any message that its prompt holds.
    """
    _hold(session)
    documents = select(DocumentSourceRow.document_id).where(DocumentSourceRow.message_id.in_(message_ids))
    summaries = session.scalars(_summaries_of(channel_id, message_ids)).all()
    return _erase(session, _holding(channel_id, message_ids), documents, summaries)


def erase_channel(session: Session, channel_id: int) -> Erased:
    """Remove the text of a channel or thread that was deleted, but for arenas, which hold no member's words."""
    _hold(session)
    documents = select(DocumentSourceRow.document_id).where(DocumentSourceRow.channel_id == channel_id)
    quoted = select(DocumentSourceRow.message_id).where(DocumentSourceRow.channel_id == channel_id)
    replies = union(
        select(ReplyRow.id).where(ReplyRow.channel_id == channel_id, ReplyRow.origin != Origin.ARENA),
        select(ReplySourceRow.reply_id).where(ReplySourceRow.message_id.in_(quoted)),
    )
    told = select(ConversationRow.channel_id).where(ConversationRow.channel_id == channel_id)
    return _erase(session, replies, documents, session.scalars(told).all())


def note_edit(session: Session, channel_id: int, message_id: int, edited_at: datetime) -> int:
    """Note that a message says something else since then, and return how many earlier answers held the old words.

    They stay to be seen and voted on, but are neither given again nor trained on. A summary that tells the old words is
    begun anew; documents are read again by the bot, which can.
    """
    told = _summaries_of(channel_id, [message_id]).where(ConversationRow.updated_at < edited_at)
    drop_summaries(session, session.scalars(told).all())
    held = select(ReplySourceRow.reply_id).where(ReplySourceRow.message_id == message_id)
    concerned = update(ReplyRow).where(
        ReplyRow.id.in_(held), ReplyRow.created_at < edited_at, ReplyRow.edited_at.is_(None)
    )
    return changed_rows(session.execute(concerned.values(edited_at=edited_at, basis=None)))


def erase_guild(session: Session, guild_id: int) -> Erased:
    """Remove everything of a server, but for its personalities, whose versions stay."""
    _hold(session)
    replies = select(ReplyRow.id).where(ReplyRow.guild_id == guild_id)
    channels = session.scalars(_told_in(guild_id)).all()
    documents = select(DocumentRow.id).where(DocumentRow.guild_id == guild_id)
    erased = _erase(session, replies, documents, channels)
    for table in (MemberRow, DocumentRow, BindingRow, ArenaRow):
        session.execute(delete(table).where(table.guild_id == guild_id))
    return erased


def erase_member_in(session: Session, guild_id: int, user_id: int) -> Erased:
    """Remove a member's data in one server; where nothing of them is left in another, all that is kept of them."""
    _hold(session)
    here = select(ReplyRow.id).where(ReplyRow.guild_id == guild_id)
    replies = select(ReplySpeakerRow.reply_id).where(
        ReplySpeakerRow.user_id == user_id, ReplySpeakerRow.reply_id.in_(here)
    )
    voted = select(VoteEventRow.reply_id).where(VoteEventRow.user_id == user_id, VoteEventRow.reply_id.in_(here))
    written = select(CorrectionRow.id).where(CorrectionRow.author_id == user_id, CorrectionRow.reply_id.in_(here))
    summaries = select(ConversationSpeakerRow.channel_id).where(
        ConversationSpeakerRow.user_id == user_id, ConversationSpeakerRow.channel_id.in_(_told_in(guild_id))
    )
    told = session.scalars(summaries).all()
    documents = select(DocumentSpeakerRow.document_id).where(
        DocumentSpeakerRow.user_id == user_id,
        DocumentSpeakerRow.document_id.in_(select(DocumentRow.id).where(DocumentRow.guild_id == guild_id)),
    )
    marked = mark_versions_trained_on(session, replies.union(voted), written)
    session.execute(delete(CorrectionRow).where(CorrectionRow.id.in_(written)))
    for table in (VoteEventRow, VoteCauseRow, QuarantinedVoteRow):
        session.execute(delete(table).where(table.user_id == user_id, table.reply_id.in_(here)))
    session.execute(delete(MemberRow).where(MemberRow.guild_id == guild_id, MemberRow.user_id == user_id))
    erased = _erase(session, replies, documents, told)
    session.execute(
        update(ReplyRow).where(ReplyRow.guild_id == guild_id, ReplyRow.author_id == user_id).values(author_id=NOBODY)
    )
    if not _is_known(session, user_id):
        delete_member(session, user_id)
    return Erased(erased.replies, erased.summaries, erased.documents, marked)


def _is_known(session: Session, user_id: int) -> bool:
    signs = (
        select(ReplySpeakerRow.user_id).where(ReplySpeakerRow.user_id == user_id),
        select(VoteEventRow.user_id).where(VoteEventRow.user_id == user_id),
        select(CorrectionRow.author_id).where(CorrectionRow.author_id == user_id),
        select(MemberRow.user_id).where(MemberRow.user_id == user_id),
    )
    return any(session.scalar(sign.limit(1)) is not None for sign in signs)


def _hold(session: Session) -> None:
    lock_erasures(session)  # what is written from the messages now is written before, or never
    lock_personalities(session)  # or a round that is being planned would learn from what goes


def _erase(session: Session, replies: ReplyIds, documents: Select[int], channel_ids: Collection[int]) -> Erased:
    marked = mark_versions_trained_on(session, replies, NONE)
    gone = session.execute(delete(ReplyRow).where(ReplyRow.id.in_(replies)))  # first: documents may say which
    return Erased(changed_rows(gone), drop_summaries(session, channel_ids), erase_documents(session, documents), marked)


def _holding(channel_id: int, message_ids: Collection[int]) -> ReplyIds:
    """Select the answers that the messages carry, or whose prompts hold or tell them.

    A union, each part of which has an index: most messages that are deleted on a server are none of ours.
    """
    told: list[ColumnElement[bool]] = [
        and_(ReplyRow.channel_id == channel_id, ReplyRow.summary_to >= id_, ReplyRow.summary_from <= id_)
        for id_ in message_ids
    ]
    return union(
        select(ReplyMessageRow.reply_id).where(ReplyMessageRow.message_id.in_(message_ids)),
        select(ReplySourceRow.reply_id).where(ReplySourceRow.message_id.in_(message_ids)),
        select(ReplyRow.id).where(or_(false(), *told)),
    )


def _summaries_of(channel_id: int, message_ids: Collection[int]) -> Select[int]:
    """Select the channel where its summary tells one of the messages."""
    told: list[ColumnElement[bool]] = [
        and_(ConversationRow.summarised_from <= id_, ConversationRow.summarised_to >= id_) for id_ in message_ids
    ]
    return select(ConversationRow.channel_id).where(
        ConversationRow.channel_id == channel_id, ConversationRow.summary != "", or_(false(), *told)
    )


def _told_in(guild_id: int) -> Select[int]:
    """Select the channels of a server whose conversation is remembered."""
    channels = select(ReplyRow.channel_id).where(ReplyRow.guild_id == guild_id)
    return select(ConversationRow.channel_id).where(ConversationRow.channel_id.in_(channels))


def kept_messages(
    session: Session, since: datetime, guild_ids: Collection[int], *, direct: bool
) -> dict[int, set[int]]:
    """Return {channel id: message ids} behind answers since that moment, and behind every document.

    Of the servers, and of direct messages where `direct`: who is in no server does not see what became of its messages.
    """
    found: dict[int, set[int]] = defaultdict(set)
    here = ReplyRow.guild_id.in_(guild_ids)
    recent = and_(ReplyRow.created_at >= since, or_(ReplyRow.guild_id.is_(None), here) if direct else here)
    own = select(ReplyMessageRow.channel_id, ReplyMessageRow.message_id).join(ReplyRow).where(recent)
    quoted = select(DocumentSourceRow.message_id)  # their channel may be another one than the answer's
    asked = (
        select(ReplyRow.channel_id, ReplySourceRow.message_id)
        .join(ReplyRow)
        .where(recent, ReplySourceRow.message_id.not_in(quoted))
    )
    of_documents = (
        select(DocumentSourceRow.channel_id, DocumentSourceRow.message_id)
        .join(DocumentRow)
        .where(DocumentRow.guild_id.in_(guild_ids))
    )
    for query in (own, asked, of_documents):
        _gather(found, (tuple(row) for row in session.execute(query)))
    return dict(found)


def _gather(found: dict[int, set[int]], rows: Iterable[tuple[int, ...]]) -> None:
    for channel_id, message_id in rows:
        found[channel_id].add(message_id)
