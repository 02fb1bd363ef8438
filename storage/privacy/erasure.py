"""Deletes stored data: of deleted messages and channels, of departed servers and members, or on a member's request.

Versions that were trained on deleted data are marked, and rounds that are training on it are ended.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy import ColumnElement, CompoundSelect, Select, delete, false, func, or_, select, union, update
from sqlalchemy.orm import Session

from storage.conversations.replies import keep_answered_questions
from storage.conversations.summaries import drop_summaries, drop_summaries_with
from storage.database import tables
from storage.database.columns import Fate, utc_now
from storage.database.enums import ASKED, NOBODY, QuarantineRule, RoundStatus
from storage.database.rows import any_row, changed_rows
from storage.knowledge.documents import documents_with, erase_documents, remove_words_of
from storage.members import Pseudonym, read_pseudonyms
from storage.memory import delete_notes, list_notes, replies_with_notes
from storage.personalities.personalities import DEFAULT_PERSONALITY, lock_personalities
from storage.privacy.member_data import summarize_member_data
from storage.privacy.ownership import (
    channels_in,
    in_any_guild,
    in_guild,
    is_known,
    naming_members,
    naming_pseudonyms,
    naming_servers,
    rows_in,
)
from storage.sentences import Sentence
from storage.servers import schedule_of_arenas, schedule_of_weeks
from storage.wording import version_name

ERASURE_LOCK = 7_226_539  # an arbitrary number that nothing else on the server locks
DELETED_DATA = Sentence(
    "a member deleted data that this round was training on, so nothing is published: request a new round"
)

ReplyIds = Select[int] | CompoundSelect[int]
NO_REPLIES = select(tables.ReplyRow.id).where(false())
NO_CORRECTIONS = select(tables.CorrectionRow.id).where(false())
NO_ROUNDS = select(tables.RoundRow.id).where(false())
NO_DOCUMENTS = select(tables.DocumentRow.id).where(false())


@dataclass(frozen=True)
class Deletion:
    """Counts of deleted rows; those of votes, choices, corrections and notes only if a member asks for the deletion."""

    replies: int = 0
    votes: int = 0
    """Number of answers that the member voted on, withdrawn votes included."""
    choices: int = 0
    """Number of pairs of answers that the member compared."""
    corrections: int = 0
    notes: int = 0
    summaries: int = 0
    """Number of deleted summaries; their conversations start again without them."""
    documents: int = 0
    marked: tuple[str, ...] = ()
    """Names of the versions that were trained on the data."""


def delete_member(session: Session, user_id: int) -> Deletion:
    """Delete a member's messages, votes and consent, and mark the versions that were trained on them.

    Answers to others that they only requested again are kept, without their name; so is their refusal to be learned
    from.
    """
    _lock(session)
    reply_ids = select(tables.ReplySpeakerRow.reply_id).where(tables.ReplySpeakerRow.user_id == user_id)
    correction_ids = select(tables.CorrectionRow.id).where(tables.CorrectionRow.author_id == user_id)
    voted_ids = select(tables.VoteEventRow.reply_id).where(tables.VoteEventRow.user_id == user_id)
    pseudonym = read_pseudonyms(session).of(user_id)
    marked = mark_versions_trained_on(session, reply_ids.union(voted_ids), correction_ids, _rounds_of(pseudonym))
    session.merge(tables.ErasureRow(user_id=user_id, erased_at=utc_now()))
    before = summarize_member_data(session, user_id)
    documents = remove_words_of(session, user_id)
    for table, column in naming_members(Fate.GONE):
        session.execute(delete(table).where(column == user_id))
    for table, column in naming_pseudonyms(Fate.GONE):
        session.execute(delete(table).where(column == pseudonym))
    replies = session.execute(delete(tables.ReplyRow).where(tables.ReplyRow.id.in_(reply_ids)))
    _take_name_out(session, user_id)
    return Deletion(
        replies=changed_rows(replies),
        votes=before.votes,
        choices=before.choices,
        corrections=before.suggestions + before.withdrawn,
        notes=before.notes,
        summaries=drop_summaries_with(session, user_id),
        documents=documents,
        marked=marked,
    )


def _take_name_out(session: Session, user_id: int, guild_id: int | None = None) -> None:
    """Put NOBODY in place of the member in rows that are kept, in one server or everywhere."""
    replies, quarantines, held = tables.ReplyRow, tables.QuarantineRow, tables.QuarantinedVoteRow
    asked = [replies.author_id == user_id]
    on_answers_to = [quarantines.rule == QuarantineRule.AUTHOR, quarantines.subject_id == user_id]
    if guild_id is not None:
        asked.append(replies.guild_id == guild_id)
        elsewhere = select(held.quarantine_id).join(replies).where(replies.guild_id.is_distinct_from(guild_id))
        on_answers_to.append(quarantines.id.not_in(elsewhere))
    session.execute(update(replies).where(*asked).values(author_id=NOBODY))
    session.execute(update(quarantines).where(*on_answers_to).values(subject_id=NOBODY))


def is_kept(session: Session, channel_id: int, message_ids: Collection[int]) -> bool:
    """Return whether the text of one of the Discord messages is stored in any form."""
    kept: tuple[ReplyIds, ...] = (
        _replies_with(channel_id, message_ids),
        _summaries_of(channel_id, message_ids),
        documents_with(message_ids),
    )
    return any(any_row(session, query) for query in kept)


def erase_messages(session: Session, channel_id: int, message_ids: Collection[int]) -> Deletion:
    """Delete the text of deleted Discord messages wherever it is stored, and mark the versions trained on it.

    An answer is deleted if one of its own messages or a message in its prompt is deleted.
    """
    _lock(session)
    summaries = session.scalars(_summaries_of(channel_id, message_ids)).all()
    return _erase(session, _replies_with(channel_id, message_ids), documents_with(message_ids), summaries)


def erase_answers(session: Session, reply_ids: Collection[int]) -> Deletion:
    """Delete answers with their votes and suggestions, and mark the versions trained on them."""
    _lock(session)
    return _erase(session, select(tables.ReplyRow.id).where(tables.ReplyRow.id.in_(reply_ids)))


def forget_notes(
    session: Session, user_id: int, guild_id: int | None, made_at: Collection[datetime] | None = None
) -> Deletion:
    """Delete the member's notes there that were made at these moments, or all, and the answers that used them.

    By their moments: SQLite gives the ID of a deleted note to the next one.
    """
    notes = list_notes(session, user_id, guild_id)
    return erase_notes(session, [note.id for note in notes if made_at is None or note.created_at in made_at])


def erase_notes(session: Session, note_ids: Collection[int]) -> Deletion:
    """Delete notes and the answers whose prompts held them, and mark the versions trained on those answers."""
    _lock(session)
    erased = _erase(session, replies_with_notes(note_ids))
    return replace(erased, notes=delete_notes(session, note_ids))


def exclude_answer(session: Session, reply_id: int) -> bool:
    """Stop training on an answer's text and on suggestions for it; return whether that was possible before.

    People's votes on it still teach the taste.
    """
    replies = tables.ReplyRow
    might_be = (replies.id == reply_id, replies.basis.is_not(None))
    return changed_rows(session.execute(update(replies).where(*might_be).values(basis=None))) == 1


def erase_channel(session: Session, channel_id: int) -> Deletion:
    """Delete the text of a deleted channel or thread, except arenas, which hold no member's messages."""
    _lock(session)
    sources = tables.DocumentSourceRow
    documents = select(sources.document_id).where(sources.channel_id == channel_id)
    quoted = select(sources.message_id).where(sources.channel_id == channel_id)
    replies = union(
        select(tables.ReplyRow.id).where(
            tables.ReplyRow.channel_id == channel_id, tables.ReplyRow.origin.not_in(ASKED)
        ),
        select(tables.ReplySourceRow.reply_id).where(tables.ReplySourceRow.message_id.in_(quoted)),
    )
    conversations = select(tables.ConversationRow.channel_id).where(tables.ConversationRow.channel_id == channel_id)
    return _erase(session, replies, documents, session.scalars(conversations).all())


def kept_channels(session: Session, guild_id: int) -> set[int]:
    """Return the server's channels and threads whose text `erase_channel` would delete."""
    replies, sources, documents = tables.ReplyRow, tables.DocumentSourceRow, tables.DocumentRow
    said = select(replies.channel_id).where(replies.guild_id == guild_id, replies.origin.not_in(ASKED))
    quoted = select(sources.channel_id).join(documents).where(documents.guild_id == guild_id)
    return set(session.scalars(union(said, quoted)))


def note_edit(session: Session, channel_id: int, message_id: int, edited_at: datetime) -> int:
    """Record that a message was edited, and return the number of earlier answers with the old text in their prompts.

    Members still see those answers and vote on them, but they are not trained on, and 🔁 does not repeat their prompts.
    A summary of the old text is deleted. The bot itself reads documents again.
    """
    conversations, replies = tables.ConversationRow, tables.ReplyRow
    outdated = _summaries_of(channel_id, [message_id]).where(conversations.updated_at < edited_at)
    drop_summaries(session, session.scalars(outdated).all())
    held = select(tables.ReplySourceRow.reply_id).where(tables.ReplySourceRow.message_id == message_id)
    affected = update(replies).where(replies.id.in_(held), replies.created_at < edited_at, replies.edited_at.is_(None))
    return changed_rows(session.execute(affected.values(edited_at=edited_at, basis=None)))


def kept_messages(
    session: Session, since: datetime, guild_ids: Collection[int], *, direct: bool
) -> dict[int, set[int]]:
    """Return {channel id: message ids} of the messages behind the servers' answers and documents since then.

    `direct` adds those of direct messages: a process without the bot's direct messages cannot check them.
    """
    found: dict[int, set[int]] = defaultdict(set)
    replies, asked, sources = tables.ReplyRow, tables.ReplySourceRow, tables.DocumentSourceRow
    here = replies.guild_id.in_(guild_ids)
    recent = (replies.created_at >= since) & (or_(replies.guild_id.is_(None), here) if direct else here)
    own = select(tables.ReplyMessageRow.channel_id, tables.ReplyMessageRow.message_id).join(replies).where(recent)
    quoted = select(sources.message_id)  # their channel may differ from the answer's
    in_prompts = (
        select(replies.channel_id, asked.message_id).join(replies).where(recent, asked.message_id.not_in(quoted))
    )
    in_documents = (
        select(sources.channel_id, sources.message_id)
        .join(tables.DocumentRow)
        .where(tables.DocumentRow.guild_id.in_(guild_ids))
    )
    for query in (own, in_prompts, in_documents):
        for channel_id, message_id in session.execute(query):
            found[channel_id].add(message_id)
    return dict(found)


def erase_guild(session: Session, guild_id: int) -> Deletion:
    """Delete everything of a server except its personalities and their versions; the personalities lose their pictures.

    The server's webhooks for personalities of other servers are found by the channels of its stored data.
    """
    _lock(session)
    _delete_appearances(session, guild_id)
    replies = select(tables.ReplyRow.id).where(tables.ReplyRow.guild_id == guild_id)
    channels = session.scalars(channels_in(guild_id)).all()
    documents = select(tables.DocumentRow.id).where(tables.DocumentRow.guild_id == guild_id)
    erased = _erase(session, replies, documents, channels)
    for table, column in naming_servers(Fate.GONE):
        session.execute(delete(table).where(column == guild_id))
    schedules = (schedule_of_arenas(guild_id), schedule_of_weeks(guild_id))
    session.execute(delete(tables.ScheduleRow).where(tables.ScheduleRow.name.in_(schedules)))
    return erased


def _delete_appearances(session: Session, guild_id: int) -> None:
    """Delete the pictures of the server's own personalities, and all webhooks of these and of its channels."""
    personalities, replies, bindings, webhooks = (
        tables.PersonalityRow,
        tables.ReplyRow,
        tables.BindingRow,
        tables.WebhookRow,
    )
    documents = select(tables.DocumentRow.id).where(tables.DocumentRow.guild_id == guild_id)
    channels = union(
        select(replies.channel_id).where(replies.guild_id == guild_id),
        select(bindings.place_id).where(bindings.guild_id == guild_id),
        select(tables.DocumentSourceRow.channel_id).where(tables.DocumentSourceRow.document_id.in_(documents)),
    )
    own = select(personalities.id).where(personalities.guild_id == guild_id)
    session.execute(delete(webhooks).where(or_(webhooks.channel_id.in_(channels), webhooks.personality_id.in_(own))))
    session.execute(delete(tables.PictureRow).where(tables.PictureRow.personality_id.in_(own)))
    session.execute(update(personalities).where(personalities.guild_id == guild_id).values(picture_digest=None))


def erase_member_in(session: Session, guild_id: int, user_id: int, *, left_at: datetime) -> Deletion:
    """Delete a departed member's data in a server; if no other server has any, delete everything about them.

    That includes direct messages, unless they have written one since: only members who share a server with the bot can.
    """
    _lock(session)
    replies, spoke, rounds = tables.ReplyRow, tables.ReplySpeakerRow, tables.RoundRow
    voted, compared, suggested = tables.VoteEventRow, tables.ComparisonRow, tables.CorrectionRow
    here = select(replies.id).where(replies.guild_id == guild_id)
    spoken_ids = select(spoke.reply_id).where(spoke.user_id == user_id, spoke.reply_id.in_(here))
    voted_ids = select(voted.reply_id).where(voted.user_id == user_id, voted.reply_id.in_(here))
    correction_ids = select(suggested.id).where(suggested.author_id == user_id, suggested.reply_id.in_(here))
    in_summaries, in_documents = tables.ConversationSpeakerRow, tables.DocumentSpeakerRow
    summaries = select(in_summaries.channel_id).where(
        in_summaries.user_id == user_id, in_summaries.channel_id.in_(channels_in(guild_id))
    )
    own_documents = select(tables.DocumentRow.id).where(tables.DocumentRow.guild_id == guild_id)
    documents = select(in_documents.document_id).where(
        in_documents.user_id == user_id, in_documents.document_id.in_(own_documents)
    )
    channels = session.scalars(summaries).all()
    judged_ids = union(
        voted_ids,
        select(compared.first_id).where(compared.user_id == user_id),
        select(suggested.reply_id).where(suggested.author_id == user_id),
    )
    # Versions of other servers learned from what stays stored.
    taught = select(replies.personality_id).where(replies.id.in_(here), replies.id.in_(judged_ids))
    theirs = _rounds_of(read_pseudonyms(session).of(user_id)).join(rounds).where(rounds.personality_id.in_(taught))
    marked = mark_versions_trained_on(session, spoken_ids.union(voted_ids), correction_ids, theirs)
    for table, column in naming_members(Fate.GONE):
        if (inside := rows_in(table, in_guild(guild_id))) is not None:
            session.execute(delete(table).where(column == user_id, inside))
    erased = _erase(session, spoken_ids, documents, channels)
    _take_name_out(session, user_id, guild_id)
    if not is_known(session, user_id, in_any_guild) and not _wrote_directly(session, user_id, left_at):
        marked = tuple(dict.fromkeys((*marked, *delete_member(session, user_id).marked)))
    return replace(erased, marked=marked)


def _wrote_directly(session: Session, user_id: int, since: datetime) -> bool:
    replies, spoke = tables.ReplyRow, tables.ReplySpeakerRow
    direct = select(spoke.reply_id).join(replies).where(spoke.user_id == user_id, replies.guild_id.is_(None))
    return any_row(session, direct.where(replies.created_at > since))


def lock_erasures(session: Session, *, shared: bool = False) -> None:
    """Block erasures until this transaction ends, and unless `shared`, also transactions that hold the shared lock.

    Only PostgreSQL needs it: SQLite has one writer at a time.
    """
    if session.get_bind().dialect.name == "postgresql":
        lock = func.pg_advisory_xact_lock_shared if shared else func.pg_advisory_xact_lock
        session.execute(select(lock(ERASURE_LOCK)))


def mark_versions_of_voter(session: Session, user_id: int) -> tuple[str, ...]:
    """Mark the versions that the member's votes influenced, end running rounds, and return the versions' names."""
    _lock(session)
    return mark_versions_trained_on(session, NO_REPLIES, of_voter=_rounds_of(read_pseudonyms(session).of(user_id)))


def _rounds_of(voter: Pseudonym) -> Select[int]:
    return select(tables.RoundVoterRow.round_id).where(tables.RoundVoterRow.pseudonym == voter)


def mark_versions_trained_on(
    session: Session,
    reply_ids: ReplyIds,
    correction_ids: Select[int] = NO_CORRECTIONS,
    of_voter: Select[int] = NO_ROUNDS,
) -> tuple[str, ...]:
    """Mark the versions trained on the rows or made by the voter's rounds, and the versions that started from them.

    Running rounds are ended. Return the versions' names. The caller must have locked every personality, or a round that
    is being planned would escape.
    """
    pairs, rounds, versions = tables.RoundPairRow, tables.RoundRow, tables.VersionRow
    of_rows = select(pairs.round_id).where(
        or_(
            pairs.chosen_reply_id.in_(reply_ids),
            pairs.rejected_reply_id.in_(reply_ids),
            pairs.correction_id.in_(correction_ids),
        )
    )
    round_ids = of_rows.union(of_voter)
    trained = select(versions.id).where(versions.round_id.in_(round_ids)).cte("trained", recursive=True)
    # A version starts from its starter's weights, so it inherits everything that the starter learned.
    trained = trained.union(select(versions.id).join(trained, versions.parent_id == trained.c.id))
    concerned = or_(versions.id.in_(select(trained.c.id)), _is_copy_of(select(trained.c.id)))
    names = names_of(session, concerned)
    session.execute(update(versions).where(concerned).values(trained_on_deleted_data=True))
    session.execute(
        update(rounds)
        .where(rounds.id.in_(round_ids), rounds.status == RoundStatus.RUNNING)
        .values(status=RoundStatus.INTERRUPTED, reason=DELETED_DATA, finished_at=utc_now())
    )
    return names


def names_of(session: Session, concerned: ColumnElement[bool]) -> tuple[str, ...]:
    """Return the names of versions: "v3", or "keeper v3" for one of another than the default personality."""
    versions, personalities = tables.VersionRow, tables.PersonalityRow
    rows = session.execute(
        select(personalities.name, versions.number)
        .join(personalities, personalities.id == versions.personality_id)
        .where(concerned)
        .order_by(personalities.id, versions.number)
    )
    return tuple(
        version_name(number) if name == DEFAULT_PERSONALITY else f"{name} {version_name(number)}"
        for name, number in rows
    )


def _is_copy_of(version_ids: Select[int]) -> ColumnElement[bool]:
    """Select versions that were imported with the same adapter, so that no round made them."""
    versions = tables.VersionRow
    digests = select(versions.digest).where(versions.id.in_(version_ids))
    return versions.round_id.is_(None) & versions.digest.in_(digests)


def _lock(session: Session) -> None:
    lock_erasures(session)  # an answer that uses the data is written before this, or never
    lock_personalities(session)  # a round that is being planned cannot train on it


def _erase(
    session: Session, replies: ReplyIds, documents: Select[int] = NO_DOCUMENTS, channel_ids: Collection[int] = ()
) -> Deletion:
    marked = mark_versions_trained_on(session, replies)
    keep_answered_questions(session, replies)
    # PostgreSQL checks all of a pair's references again when a second one is emptied, so corrections go separately.
    session.execute(delete(tables.CorrectionRow).where(tables.CorrectionRow.reply_id.in_(replies)))
    # Replies go before documents: `replies` may select them by these.
    erased = session.execute(delete(tables.ReplyRow).where(tables.ReplyRow.id.in_(replies)))
    return Deletion(
        replies=changed_rows(erased),
        summaries=drop_summaries(session, channel_ids),
        documents=erase_documents(session, documents),
        marked=marked,
    )


def _replies_with(channel_id: int, message_ids: Collection[int]) -> ReplyIds:
    """Select the answers that consist of the messages, or whose prompts hold or summarize them.

    Each part of the union has an index: most messages that are deleted on a server are not stored at all.
    """
    replies, parts, sources = tables.ReplyRow, tables.ReplyMessageRow, tables.ReplySourceRow
    summarized = [(replies.summary_from <= id_) & (replies.summary_to >= id_) for id_ in message_ids]
    return union(
        select(parts.reply_id).where(parts.message_id.in_(message_ids)),
        select(sources.reply_id).where(sources.message_id.in_(message_ids)),
        select(replies.id).where(replies.channel_id.in_({channel_id, *message_ids}), or_(false(), *summarized)),
    )


def _summaries_of(channel_id: int, message_ids: Collection[int]) -> Select[int]:
    """Select the channel if its summary covers one of the messages."""
    conversations = tables.ConversationRow
    covered = [(conversations.summarised_from <= id_) & (conversations.summarised_to >= id_) for id_ in message_ids]
    # A thread has the ID of the message that it was made from.
    channels = conversations.channel_id.in_({channel_id, *message_ids})
    return select(conversations.channel_id).where(channels, conversations.summary != "", or_(false(), *covered))
