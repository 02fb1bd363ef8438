"""Replies: one answer each, written before its first message is sent and finished once."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Select, delete, func, select, update
from sqlalchemy.orm import Session

from storage.database.enums import Basis, Origin, Outcome
from storage.database.rows import from_row
from storage.database.tables import (
    ArenaAnswerRow,
    ArenaRow,
    ReplyIdRow,
    ReplyMessageRow,
    ReplyRow,
    ReplySourceRow,
    ReplySpeakerRow,
)
from storage.runtime.request_ids import current_request
from storage.runtime.shards import ALL, Shards
from storage.wording import message_link

FINISHED_WHOLE = (Outcome.COMPLETE, Outcome.LENGTH)
SAID_IN_CHAT = (Origin.CHAT, Origin.ALTERNATIVE)


@dataclass(frozen=True)
class Retrieved:
    """A passage that was quoted in the prompt."""

    chunk_id: int
    document_id: int


@dataclass(frozen=True)
class Sources:
    """The Discord messages whose text a prompt holds."""

    messages: Mapping[int, int] = field(default_factory=dict)
    """{message id: user id} of those that stand there word for word; nobody wrote the bot's own."""
    summary: tuple[int, int] | None = None
    """First and last id of the messages that the summary in the prompt tells."""


NO_SOURCES = Sources()


@dataclass(frozen=True)
class NewReply:
    """What is known before the first token."""

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


@dataclass(frozen=True)
class FinishedReply:
    """What is known after the last token; times in seconds from the request."""

    answer: str
    outcome: Outcome
    answer_tokens: int = 0
    queued_s: float | None = None
    first_token_s: float | None = None
    total_s: float | None = None


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
    created_at: datetime
    message_ids: tuple[int, ...]
    speakers: tuple[int, ...]
    retrieved: tuple[Retrieved, ...]
    sources: Sources
    edited_at: datetime | None


@dataclass(frozen=True)
class ReplyMessage:
    """A Discord message that carries (part of) a reply."""

    message_id: int
    reply_id: int
    channel_id: int
    guild_id: int | None


def digest_prompt(prompt: str) -> str:
    return hashlib.sha256(prompt.encode()).hexdigest()


def start_reply(session: Session, new: NewReply) -> int:
    """Write the reply's row, still without an answer, and return its id; it belongs to the current request."""
    row = ReplyRow(
        id=_claim_id(session),
        personality_id=new.personality_id,
        version_id=new.version_id,
        base_revision=new.base_revision,
        prompt=new.prompt,
        prompt_digest=digest_prompt(new.prompt),
        messages=list(new.messages),
        sampling=new.sampling,
        seed=new.seed,
        prompt_tokens=new.prompt_tokens,
        dropped_turns=new.dropped_turns,
        guild_id=new.guild_id,
        channel_id=new.channel_id,
        author_id=new.author_id,
        source_message_id=new.source_message_id,
        basis=new.basis,
        origin=new.origin,
        strength=new.strength,
        retrieved=[asdict(passage) for passage in new.retrieved],
        summary_from=new.sources.summary[0] if new.sources.summary else None,
        summary_to=new.sources.summary[1] if new.sources.summary else None,
        request_id=current_request(),
    )
    session.add(row)
    session.flush()
    session.add_all(
        ReplySourceRow(reply_id=row.id, message_id=message, user_id=user)
        for message, user in sorted(new.sources.messages.items())
    )
    session.add_all(ReplySpeakerRow(reply_id=row.id, user_id=user) for user in sorted(set(new.speakers)))
    return row.id


def _claim_id(session: Session) -> int | None:
    """Return an id that no answer had before; None where the database sees to it, as PostgreSQL does.

    SQLite gives the id of a deleted newest row again, and whoever still writes to that answer would write into another.
    """
    if session.get_bind().dialect.name != "sqlite":
        return None
    newest = select(func.coalesce(func.max(ReplyRow.id), 0)).scalar_subquery()
    highest = func.max(ReplyIdRow.highest, newest) + 1
    return session.scalar(update(ReplyIdRow).values(highest=highest).returning(ReplyIdRow.highest))


def add_message(session: Session, reply_id: int, message_id: int, channel_id: int, position: int) -> None:
    """Note a Discord message that carries the reply; `position` counts from 0.

    A reply that was deleted meanwhile, because a member's data was, stays so: as in `finish_reply`, nothing is kept.
    Noting it twice is noting it once.
    """
    if lock_replies(session, {reply_id}) and message_id not in find_reply_ids(session, {message_id}):
        session.add(ReplyMessageRow(message_id=message_id, reply_id=reply_id, channel_id=channel_id, position=position))


def drop_message(session: Session, message_id: int) -> None:
    """Forget a message that the bot took back because its answer became shorter; the answer stays."""
    session.execute(delete(ReplyMessageRow).where(ReplyMessageRow.message_id == message_id))


def finish_reply(session: Session, reply_id: int, finished: FinishedReply) -> None:
    session.execute(
        update(ReplyRow)
        .where(ReplyRow.id == reply_id)
        .values(
            answer=finished.answer.replace("\0", ""),  # a byte-level model can utter it; PostgreSQL refuses it
            outcome=finished.outcome,
            answer_tokens=finished.answer_tokens,
            queued_s=finished.queued_s,
            first_token_s=finished.first_token_s,
            total_s=finished.total_s,
        )
    )


def abandon_reply(session: Session, channel_id: int, seed: int) -> None:
    """End an answer that may have been started: the commit's own answer was lost, and with it the row's id."""
    started = (ReplyRow.channel_id == channel_id, ReplyRow.seed == seed, ReplyRow.outcome == Outcome.STREAMING)
    session.execute(update(ReplyRow).where(*started).values(outcome=Outcome.FAILED))


def interrupt_unfinished(session: Session, shards: Shards = ALL) -> list[Reply]:
    """Mark replies that a dead process of these shards left streaming, and return them."""
    streaming = select(ReplyRow).where(ReplyRow.outcome == Outcome.STREAMING, shards.of(ReplyRow.guild_id))
    rows = session.scalars(streaming).all()
    for row in rows:
        row.outcome = Outcome.INTERRUPTED
    session.flush()
    return [_reply(session, row) for row in rows]


def lock_replies(session: Session, reply_ids: Collection[int]) -> set[int]:
    """Let no other transaction add votes or corrections to these replies until this one ends; return those that exist.

    Without it two writers on PostgreSQL would read the same state, and one would overlook what the other adds. SQLite
    has one writer at a time anyway.
    """
    if not reply_ids:
        return set()
    query = select(ReplyRow.id).where(ReplyRow.id.in_(reply_ids)).order_by(ReplyRow.id).with_for_update(key_share=True)
    return set(session.scalars(query))


def find_reply(session: Session, reply_id: int) -> Reply | None:
    row = session.get(ReplyRow, reply_id)
    return _reply(session, row) if row else None


def find_by_message(session: Session, message_id: int) -> Reply | None:
    """Return the reply that the Discord message carries, or None."""
    row = session.scalar(select(ReplyRow).join(ReplyMessageRow).where(ReplyMessageRow.message_id == message_id))
    return _reply(session, row) if row else None


def find_reply_ids(session: Session, message_ids: Collection[int]) -> dict[int, int]:
    """Return {message id: reply id} of those messages that carry a reply."""
    rows = session.execute(
        select(ReplyMessageRow.message_id, ReplyMessageRow.reply_id).where(ReplyMessageRow.message_id.in_(message_ids))
    )
    return {row.message_id: row.reply_id for row in rows}


def request_ids_of(session: Session, reply_ids: Collection[int]) -> dict[int, str | None]:
    """Return {reply id: request id} of those replies that exist."""
    rows = session.execute(select(ReplyRow.id, ReplyRow.request_id).where(ReplyRow.id.in_(reply_ids)))
    return {row.id: row.request_id for row in rows}


def latest_in_channel(session: Session, channel_id: int) -> Reply | None:
    """Return the newest whole answer to somebody in the channel, or None."""
    row = session.scalar(
        select(ReplyRow)
        .where(
            ReplyRow.channel_id == channel_id,
            ReplyRow.outcome.in_(FINISHED_WHOLE),
            ReplyRow.origin.in_(SAID_IN_CHAT),
        )
        .order_by(ReplyRow.id.desc())
        .limit(1)
    )
    return _reply(session, row) if row else None


def count_siblings(session: Session, reply: Reply) -> int:
    """Count the answers to the same prompt in the same place, the reply itself included."""
    return (
        session.scalar(
            select(func.count())
            .select_from(ReplyRow)
            .where(
                ReplyRow.personality_id == reply.personality_id,
                ReplyRow.prompt_digest == digest_prompt(reply.prompt),
                ReplyRow.source_message_id == reply.source_message_id,
                ReplyRow.channel_id == reply.channel_id,
            )
        )
        or 0
    )


def was_called_into(session: Session, channel_id: int) -> bool:
    """Return whether the bot ever answered somebody in the channel."""
    answered = select(ReplyRow.id).where(ReplyRow.channel_id == channel_id, ReplyRow.origin.in_(SAID_IN_CHAT))
    found = session.scalar(answered.limit(1))
    return found is not None


def recent_messages(session: Session, since: datetime, shards: Shards = ALL) -> list[ReplyMessage]:
    """Return the messages of the shards' replies created at or after `since`, newest first."""
    rows = session.execute(
        select(ReplyMessageRow.message_id, ReplyMessageRow.reply_id, ReplyMessageRow.channel_id, ReplyRow.guild_id)
        .join(ReplyRow)
        .where(ReplyRow.created_at >= since, shards.of(ReplyRow.guild_id))
        .order_by(ReplyRow.id.desc(), ReplyMessageRow.position)
    )
    return [ReplyMessage(*row) for row in rows]


def recent_replies(session: Session, since: datetime, limit: int | None = None) -> list[Reply]:
    """Return replies created at or after `since`, newest first."""
    rows = session.scalars(
        select(ReplyRow).where(ReplyRow.created_at >= since).order_by(ReplyRow.id.desc()).limit(limit)
    )
    return [_reply(session, row) for row in rows]


def _reply(session: Session, row: ReplyRow) -> Reply:
    message_ids = session.scalars(
        select(ReplyMessageRow.message_id).where(ReplyMessageRow.reply_id == row.id).order_by(ReplyMessageRow.position)
    )
    speakers = session.scalars(select(ReplySpeakerRow.user_id).where(ReplySpeakerRow.reply_id == row.id))
    retrieved = tuple(Retrieved(**passage) for passage in row.retrieved)
    return from_row(
        Reply,
        row,
        message_ids=tuple(message_ids),
        speakers=tuple(speakers),
        retrieved=retrieved,
        sources=_sources(session, row),
    )


def _sources(session: Session, row: ReplyRow) -> Sources:
    found = session.execute(
        select(ReplySourceRow.message_id, ReplySourceRow.user_id).where(ReplySourceRow.reply_id == row.id)
    )
    summary = None if row.summary_from is None or row.summary_to is None else (row.summary_from, row.summary_to)
    return Sources({source.message_id: source.user_id for source in found}, summary)


def newest_base(session: Session, personality_id: int) -> str | None:
    """Return the revision of the base that gave the personality's newest answer, or None before the first."""
    return session.scalar(
        select(ReplyRow.base_revision)
        .where(ReplyRow.personality_id == personality_id)
        .order_by(ReplyRow.id.desc())
        .limit(1)
    )


def message_links(session: Session, replies: Select[Any]) -> dict[int, str]:
    """Return {reply id: address} of the Discord message on which each of the replies begins, an arena's included."""
    in_arenas = session.execute(
        select(ArenaAnswerRow.reply_id, ArenaRow.guild_id, ArenaRow.channel_id, ArenaRow.message_id)
        .join(ArenaRow, ArenaRow.id == ArenaAnswerRow.arena_id)
        .where(ArenaAnswerRow.reply_id.in_(replies), ArenaRow.message_id.is_not(None))
    )
    own = session.execute(
        select(ReplyMessageRow.reply_id, ReplyRow.guild_id, ReplyMessageRow.channel_id, ReplyMessageRow.message_id)
        .join(ReplyRow, ReplyRow.id == ReplyMessageRow.reply_id)
        .where(ReplyMessageRow.reply_id.in_(replies))
        .order_by(ReplyMessageRow.position.desc())  # the first message comes last, and stays
    )
    return {
        reply_id: message_link(guild_id, channel_id, message_id)
        for reply_id, guild_id, channel_id, message_id in [*in_arenas, *own]
    }
