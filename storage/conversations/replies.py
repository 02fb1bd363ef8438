"""Replies: one row per answer, written before its first message is sent and finished once."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import BigInteger, CompoundSelect, Select, delete, func, literal, select, update
from sqlalchemy.orm import InstrumentedAttribute, Session

from storage.database.columns import utc_now
from storage.database.enums import NOBODY, Basis, Origin, Outcome
from storage.database.rows import any_row, changed_rows, column_values, count_rows, from_row, upsert
from storage.database.tables import (
    AnsweredQuestionRow,
    ArenaAnswerRow,
    ArenaRow,
    ReplyIdRow,
    ReplyMeasuresRow,
    ReplyMessageRow,
    ReplyNoteRow,
    ReplyRow,
    ReplySourceRow,
    ReplySpeakerRow,
)
from storage.runtime.requests import current_request
from storage.runtime.shards import ALL, Shards
from storage.style import REVISION, measure_style, pack_numbers
from storage.wording import message_link

FINISHED_WHOLE = (Outcome.COMPLETE, Outcome.LENGTH)
REMEMBERED_FOR = timedelta(hours=1)
"""Time that a question counts as answered after its answer was deleted; the bot answers none after five minutes."""
REREAD = timedelta(days=7)
"""Age up to which answers' reactions and messages are read again after a gap: each costs a request to Discord."""
SAID_IN_CHAT = (Origin.CHAT, Origin.ALTERNATIVE)


@dataclass(frozen=True)
class Retrieved:
    """A passage that the prompt quotes."""

    chunk_id: int
    document_id: int


@dataclass(frozen=True)
class Sources:
    """The Discord messages and notes whose text a prompt holds."""

    messages: Mapping[int, int] = field(default_factory=dict)
    """{message id: author's user id} of messages quoted word for word; the bot's own have NOBODY."""
    summary: tuple[int, int] | None = None
    """IDs of the first and last message that the prompt's summary covers."""
    notes: frozenset[int] = frozenset()
    """IDs of members' notes about themselves in the prompt."""


NO_SOURCES = Sources()


@dataclass(frozen=True)
class NewReply:
    """Facts known before the first token."""

    personality_id: int
    version_id: int | None
    base_revision: str
    prompt: str
    messages: Sequence[dict[str, str]]
    sampling: dict[str, Any]
    seed: int
    prompt_tokens: int
    dropped_turns: int
    guild_id: int | None
    channel_id: int
    author_id: int
    source_message_id: int | None
    basis: Basis | None
    speakers: Collection[int]
    origin: Origin = Origin.CHAT
    strength: float = 1.0
    retrieved: Sequence[Retrieved] = ()
    sources: Sources = NO_SOURCES
    has_outside_text: bool = False


@dataclass(frozen=True)
class FinishedReply:
    """Facts known after the last token; times in seconds since the request."""

    answer: str
    outcome: Outcome
    answer_tokens: int = 0
    queued_s: float | None = None
    first_token_s: float | None = None
    total_s: float | None = None
    seed: int | None = None
    """Seed of the chosen candidate, if it differs from the row's seed."""
    origin: Origin | None = None
    """The answer's origin, if the shown text is not the version's own."""


@dataclass(frozen=True)
class Reply:
    id: int
    personality_id: int
    version_id: int | None
    strength: float
    base_revision: str
    prompt: str
    messages: list[dict[str, str]]
    answer: str
    outcome: Outcome
    prompt_tokens: int
    dropped_turns: int
    guild_id: int | None
    channel_id: int
    author_id: int
    source_message_id: int | None
    basis: Basis | None
    origin: Origin
    created_at: datetime
    message_ids: tuple[int, ...]
    speakers: tuple[int, ...]
    retrieved: tuple[Retrieved, ...]
    sources: Sources
    has_outside_text: bool
    edited_at: datetime | None
    undelivered: str | None
    """The small print of an answer whose end Discord has not accepted yet."""


@dataclass(frozen=True)
class ReplyMessage:
    """A Discord message that carries a reply, or part of one."""

    message_id: int
    reply_id: int
    channel_id: int
    guild_id: int | None


def digest_prompt(prompt: str) -> str:
    return hashlib.sha256(prompt.encode()).hexdigest()


def start_reply(session: Session, new: NewReply) -> int:
    """Write the reply's row, without an answer, under the current request; return its ID."""
    summary_from, summary_to = new.sources.summary or (None, None)
    values = column_values(ReplyRow, new) | {
        "messages": list(new.messages),
        "retrieved": [asdict(passage) for passage in new.retrieved],
    }
    row = ReplyRow(
        **values,
        id=_claim_id(session),
        prompt_digest=digest_prompt(new.prompt),
        summary_from=summary_from,
        summary_to=summary_to,
        request_id=current_request(),
    )
    session.add(row)
    session.flush()
    session.add_all(
        ReplySourceRow(reply_id=row.id, message_id=message, user_id=user)
        for message, user in sorted(new.sources.messages.items())
    )
    session.add_all(ReplyNoteRow(reply_id=row.id, note_id=note) for note in sorted(new.sources.notes))
    session.add_all(ReplySpeakerRow(reply_id=row.id, user_id=user) for user in sorted(set(new.speakers)))
    return row.id


def restart_reply(session: Session, reply_id: int, new: NewReply) -> None:
    """Record the version that answers instead of one that the engine refused, and its prompt."""
    of_version = ("version_id", "prompt", "sampling", "seed", "prompt_tokens", "dropped_turns")
    values = {name: getattr(new, name) for name in of_version}
    asked = {"messages": list(new.messages), "prompt_digest": digest_prompt(new.prompt)}
    session.execute(update(ReplyRow).where(ReplyRow.id == reply_id).values(values | asked))


def _claim_id(session: Session) -> int | None:
    """Return an ID that no reply had before, or None if the database guarantees that, as PostgreSQL does.

    SQLite reuses the ID of a deleted newest row, so a late write to the deleted reply would change another one.
    """
    if session.get_bind().dialect.name != "sqlite":
        return None
    newest = select(func.coalesce(func.max(ReplyRow.id), 0)).scalar_subquery()
    highest = func.max(ReplyIdRow.highest, newest) + 1
    return session.scalar(update(ReplyIdRow).values(highest=highest).returning(ReplyIdRow.highest))


def add_message(session: Session, reply_id: int, message_id: int, channel_id: int, position: int) -> None:
    """Record a Discord message that carries the reply; `position` counts from 0.

    Nothing is recorded if the reply was deleted in the meantime, or if the message is recorded already.
    """
    carried = select(
        literal(message_id, BigInteger), ReplyRow.id, literal(channel_id, BigInteger), literal(position)
    ).where(ReplyRow.id == reply_id)
    new = upsert(session, ReplyMessageRow).from_select(
        ["message_id", "reply_id", "channel_id", "position"], carried.with_for_update(key_share=True)
    )
    session.execute(new.on_conflict_do_nothing())


def drop_message(session: Session, message_id: int) -> None:
    """Remove the record of a message that the bot deleted because the answer became shorter."""
    session.execute(delete(ReplyMessageRow).where(ReplyMessageRow.message_id == message_id))


def finish_reply(session: Session, reply_id: int, finished: FinishedReply, *, undelivered: str | None = None) -> bool:
    """Write the answer; return False if the reply was deleted in the meantime.

    `undelivered` is the small print of an answer whose end Discord has not accepted yet; see `mark_delivered`.
    """
    answer = finished.answer.replace("\0", "")  # a byte-level model can write one; PostgreSQL refuses it
    values = column_values(ReplyRow, finished) | {"answer": answer, "undelivered": undelivered}
    for name in ("seed", "origin"):
        if values[name] is None:
            del values[name]
    changed = session.execute(update(ReplyRow).where(ReplyRow.id == reply_id).values(values))
    if changed_rows(changed) == 0:
        return False
    if answer and finished.outcome in FINISHED_WHOLE:
        measured = {"revision": REVISION, "numbers": pack_numbers(measure_style(answer))}
        row = upsert(session, ReplyMeasuresRow).values(reply_id=reply_id, **measured)
        session.execute(row.on_conflict_do_update(index_elements=["reply_id"], set_=measured))
    return True


def store_reply(session: Session, new: NewReply, finished: FinishedReply) -> int:
    """Store an answer that nobody watched being written, and return its id."""
    reply_id = start_reply(session, new)
    finish_reply(session, reply_id, finished)
    return reply_id


def list_undelivered(session: Session, shards: Shards = ALL) -> list[Reply]:
    """Return the shards' replies whose end still has to be delivered, oldest first."""
    waiting = (ReplyRow.undelivered.is_not(None), shards.of(ReplyRow.guild_id))
    return _replies(session, session.scalars(select(ReplyRow).where(*waiting).order_by(ReplyRow.id)).all())


def mark_delivered(session: Session, reply_id: int) -> None:
    """Record that Discord accepted the end of the answer, or never will."""
    session.execute(update(ReplyRow).where(ReplyRow.id == reply_id).values(undelivered=None))


def abandon_reply(session: Session, channel_id: int, seed: int) -> None:
    """Mark a reply as failed if its `start_reply` may have been committed: its ID was lost with the connection."""
    started = (ReplyRow.channel_id == channel_id, ReplyRow.seed == seed, ReplyRow.outcome == Outcome.STREAMING)
    session.execute(update(ReplyRow).where(*started).values(outcome=Outcome.FAILED))


def find_unfinished(session: Session, shards: Shards = ALL) -> list[int]:
    """Return the ids of the replies that a dead process of these shards left unfinished, oldest first."""
    unfinished = (ReplyRow.outcome == Outcome.STREAMING, shards.of(ReplyRow.guild_id))
    return list(session.scalars(select(ReplyRow.id).where(*unfinished).order_by(ReplyRow.id)))


def interrupt_reply(session: Session, reply_id: int) -> None:
    """Record that the reply will not continue."""
    session.execute(update(ReplyRow).where(ReplyRow.id == reply_id).values(outcome=Outcome.INTERRUPTED))


def lock_replies(session: Session, reply_ids: Collection[int]) -> set[int]:
    """Lock the replies against new votes and corrections until this transaction ends; return those that accept some.

    Deleted replies and fixed sentences accept none.

    Without the lock, two writers on PostgreSQL would read the same state and miss each other's changes. SQLite has one
    writer at a time anyway.
    """
    if not reply_ids:
        return set()
    written = (ReplyRow.id.in_(reply_ids), ReplyRow.origin != Origin.FIXED)
    return set(
        session.scalars(select(ReplyRow.id).where(*written).order_by(ReplyRow.id).with_for_update(key_share=True))
    )


def find_reply(session: Session, reply_id: int) -> Reply | None:
    row = session.get(ReplyRow, reply_id)
    return _replies(session, [row])[0] if row else None


def find_by_message(session: Session, message_id: int) -> Reply | None:
    """Return the reply that the Discord message carries, or None."""
    return find_by_messages(session, [message_id]).get(message_id)


def find_by_messages(session: Session, message_ids: Collection[int]) -> dict[int, Reply]:
    """Return {message id: reply} of the messages that carry a reply."""
    reply_ids = find_reply_ids(session, message_ids)
    if not reply_ids:
        return {}
    rows = session.scalars(select(ReplyRow).where(ReplyRow.id.in_(set(reply_ids.values())))).all()
    replies = {reply.id: reply for reply in _replies(session, rows)}
    return {message_id: replies[reply_id] for message_id, reply_id in reply_ids.items()}


def find_reply_ids(session: Session, message_ids: Collection[int]) -> dict[int, int]:
    """Return {message id: reply id} of the messages that carry a reply."""
    rows = session.execute(
        select(ReplyMessageRow.message_id, ReplyMessageRow.reply_id).where(ReplyMessageRow.message_id.in_(message_ids))
    )
    return dict(rows.all())


def origins_of(session: Session, reply_ids: Collection[int]) -> dict[int, tuple[int, str | None]]:
    """Return {reply id: (personality id, request id)} of the replies that exist."""
    columns = select(ReplyRow.id, ReplyRow.personality_id, ReplyRow.request_id)
    rows = session.execute(columns.where(ReplyRow.id.in_(reply_ids)))
    return {reply_id: (personality_id, request_id) for reply_id, personality_id, request_id in rows}


def latest_in_channel(session: Session, channel_id: int) -> Reply | None:
    """Return the newest complete answer to a member in the channel, or None."""
    return next(iter(newest_replies(session, channel_id, 1, SAID_IN_CHAT)), None)


def count_siblings(session: Session, reply: Reply, prompt: str) -> int:
    """Count the answers to the same question with this prompt; another base's answers have it in other words."""
    siblings = select(ReplyRow.id).where(
        ReplyRow.personality_id == reply.personality_id,
        ReplyRow.prompt_digest == digest_prompt(prompt),
        ReplyRow.source_message_id == reply.source_message_id,
        ReplyRow.channel_id == reply.channel_id,
        ReplyRow.origin != Origin.SAMPLE,
    )
    return count_rows(session, siblings)


def was_called_into(session: Session, channel_id: int) -> bool:
    """Return whether the bot has ever answered a member in the channel."""
    said = (*SAID_IN_CHAT, Origin.FIXED)
    answered = select(ReplyRow.id).where(ReplyRow.channel_id == channel_id, ReplyRow.origin.in_(said))
    return any_row(session, answered)


def answered_questions(session: Session, message_ids: Collection[int]) -> set[int]:
    """Return the messages that have an answer, even an unfinished or recently deleted one."""
    asked = select(ReplyRow.source_message_id).where(ReplyRow.source_message_id.in_(message_ids))
    deleted = select(AnsweredQuestionRow.message_id).where(AnsweredQuestionRow.message_id.in_(message_ids))
    return {message_id for message_id in session.scalars(asked.union(deleted)) if message_id is not None}


def keep_answered_questions(session: Session, replies: Select[int] | CompoundSelect[int]) -> None:
    """Remember the messages that these replies answered, before the replies are deleted."""
    earliest = utc_now() - REMEMBERED_FOR
    questions = select(ReplyRow.source_message_id).where(
        ReplyRow.id.in_(replies), ReplyRow.source_message_id.is_not(None), ReplyRow.created_at >= earliest
    )
    for message_id in session.scalars(questions.distinct()).all():
        session.merge(AnsweredQuestionRow(message_id=message_id))
    session.execute(delete(AnsweredQuestionRow).where(AnsweredQuestionRow.deleted_at < earliest))


def direct_channels(session: Session, since: datetime, limit: int) -> list[int]:
    """Return the direct messages with answers at or after `since`, the latest first."""
    latest = func.max(ReplyRow.id)
    of_people = select(ReplyRow.channel_id).where(
        ReplyRow.guild_id.is_(None), ReplyRow.channel_id != NOBODY, ReplyRow.created_at >= since
    )
    return list(session.scalars(of_people.group_by(ReplyRow.channel_id).order_by(latest.desc()).limit(limit)))


def recent_messages(session: Session, since: datetime, shards: Shards = ALL) -> list[ReplyMessage]:
    """Return the messages of the shards' replies created at or after `since`, newest first."""
    rows = session.execute(
        select(ReplyMessageRow.message_id, ReplyMessageRow.reply_id, ReplyMessageRow.channel_id, ReplyRow.guild_id)
        .join(ReplyRow)
        .where(ReplyRow.created_at >= since, shards.of(ReplyRow.guild_id))
        .order_by(ReplyRow.id.desc(), ReplyMessageRow.position)
    )
    return [ReplyMessage(*row) for row in rows]


def newest_replies(
    session: Session, channel_id: int, limit: int, origins: Collection[Origin] = tuple(Origin)
) -> list[Reply]:
    """Return the newest complete answers of these origins in the channel, newest first."""
    complete = ReplyRow.channel_id == channel_id, ReplyRow.outcome.in_(FINISHED_WHOLE), ReplyRow.origin.in_(origins)
    rows = session.scalars(select(ReplyRow).where(*complete).order_by(ReplyRow.id.desc()).limit(limit)).all()
    return _replies(session, rows)


def _replies(session: Session, rows: Sequence[ReplyRow]) -> list[Reply]:
    """Return the rows' replies in the same order, with four queries for all of them."""
    ids = [row.id for row in rows]
    messages = _grouped(session, ids, ReplyMessageRow.reply_id, ReplyMessageRow.position, ReplyMessageRow.message_id)
    speakers = _grouped(session, ids, ReplySpeakerRow.reply_id, ReplySpeakerRow.user_id)
    sources = _grouped(session, ids, ReplySourceRow.reply_id, ReplySourceRow.message_id, ReplySourceRow.user_id)
    notes = _grouped(session, ids, ReplyNoteRow.reply_id, ReplyNoteRow.note_id)
    return [
        from_row(
            Reply,
            row,
            message_ids=tuple(message_id for _, message_id in messages[row.id]),
            speakers=tuple(user_id for (user_id,) in speakers[row.id]),
            retrieved=tuple(Retrieved(**passage) for passage in row.retrieved),
            sources=Sources(dict(sources[row.id]), _summary_of(row), frozenset(id_ for (id_,) in notes[row.id])),
        )
        for row in rows
    ]


def _grouped(
    session: Session,
    reply_ids: Collection[int],
    reply_id: InstrumentedAttribute[int],
    *columns: InstrumentedAttribute[int],
) -> Mapping[int, list[Any]]:
    """Return {reply id: values of the columns}, in the order of the values."""
    found = defaultdict[int, list[Any]](list)
    for id_, *values in session.execute(select(reply_id, *columns).where(reply_id.in_(reply_ids)).order_by(*columns)):
        found[id_].append(values)
    return found


def _summary_of(row: ReplyRow) -> tuple[int, int] | None:
    return None if row.summary_from is None or row.summary_to is None else (row.summary_from, row.summary_to)


def message_links(session: Session, replies: Select[Any]) -> dict[int, str]:
    """Return {reply id: link} to the first Discord message of each reply, or to the arena that shows it."""
    in_arenas = session.execute(
        select(ArenaAnswerRow.reply_id, ArenaRow.guild_id, ArenaRow.channel_id, ArenaRow.message_id)
        .join(ArenaRow, ArenaRow.id == ArenaAnswerRow.arena_id)
        .where(ArenaAnswerRow.reply_id.in_(replies), ArenaRow.message_id.is_not(None))
    )
    own = session.execute(
        select(ReplyMessageRow.reply_id, ReplyRow.guild_id, ReplyMessageRow.channel_id, ReplyMessageRow.message_id)
        .join(ReplyRow, ReplyRow.id == ReplyMessageRow.reply_id)
        .where(ReplyMessageRow.reply_id.in_(replies))
        .order_by(ReplyMessageRow.position.desc())  # so that the first message overwrites the others
    )
    return {
        reply_id: message_link(guild_id, channel_id, message_id)
        for reply_id, guild_id, channel_id, message_id in [*in_arenas, *own]
    }
