"""Arenas, from preparation to result, and the picks that members make."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from storage.conversations.replies import FinishedReply, NewReply, store_reply
from storage.database.columns import utc_now
from storage.database.enums import ArenaStatus
from storage.database.rows import any_row, changed_rows, from_row, read_all, read_first
from storage.database.tables import ArenaAnswerRow, ArenaRow, ReplyRow, VersionRow, VoteEventRow
from storage.errors import ArenaClosed, ArenaConflict
from storage.members import note_members
from storage.personalities.personalities import lock_personalities, lock_personality
from storage.runtime.shards import ALL, Shards
from storage.sentences import Sentence
from storage.votes.votes import Thumb, Vote, VoteEvent, append_events, tally, votes_on
from storage.wording import version_name

SCHEDULE = "schedule"
"""Stored as `started_by` of scheduled arenas."""
UNFINISHED = (ArenaStatus.PREPARING, ArenaStatus.OPEN)
UP, DOWN = "👍", "👎"


@dataclass(frozen=True)
class Arena:
    id: int
    personality_id: int
    guild_id: int | None
    channel_id: int
    message_id: int | None
    prompt: str
    status: ArenaStatus
    started_by: str
    started_at: datetime
    closes_at: datetime
    closed_at: datetime | None
    reason: str


@dataclass(frozen=True)
class ArenaAnswer:
    position: int
    """The answer's number on the board, from 1."""
    reply_id: int
    version: str
    text: str
    picks: int
    """Number of members who picked it."""


def prepare_arena(
    session: Session,
    *,
    personality_id: int,
    guild_id: int | None,
    channel_id: int,
    prompt: str,
    started_by: str,
    closes_at: datetime,
) -> Arena:
    """Add an arena without answers; raises ArenaConflict if the channel has an unfinished one."""
    lock_personality(session, personality_id)  # of two admins at once, the second sees the first one's row
    if unfinished_arena(session, channel_id) is not None:
        raise ArenaConflict("that channel already has an arena: wait until it closes, or stop it with `/arena stop`")
    row = ArenaRow(
        personality_id=personality_id,
        guild_id=guild_id,
        channel_id=channel_id,
        prompt=prompt,
        started_by=started_by,
        closes_at=closes_at,
    )
    session.add(row)
    session.flush()
    return from_row(Arena, row)


def place_arena(session: Session, arena_id: int, message_id: int) -> None:
    """Store the Discord message of an arena."""
    session.get_one(ArenaRow, arena_id).message_id = message_id


def open_arena(
    session: Session, arena_id: int, answers: Sequence[tuple[NewReply, FinishedReply]], closes_at: datetime
) -> Arena:
    """Store the answers in the order of their positions, and open a prepared arena.

    Raises ArenaConflict, and writes nothing, if the arena was ended in the meantime.
    """
    if not _advance(session, arena_id, ArenaStatus.PREPARING, status=ArenaStatus.OPEN, closes_at=closes_at):
        raise ArenaConflict("arena {id} was stopped while it was being prepared", id=str(arena_id))
    for position, answer in enumerate(answers, start=1):
        reply_id = store_reply(session, *answer)
        session.add(ArenaAnswerRow(arena_id=arena_id, position=position, reply_id=reply_id))
    session.flush()
    return find_arena(session, arena_id)


def stop_arena(session: Session, channel_id: int, by: str) -> Arena:
    """Stop picks in the channel's arena; one that is being prepared fails. Raises ArenaConflict without one."""
    arena = unfinished_arena(session, channel_id)
    if arena is None:
        raise ArenaConflict("that channel has no arena: nothing was stopped")
    if not _advance(session, arena.id, ArenaStatus.OPEN, closes_at=utc_now()):
        fail_arena(session, arena.id, Sentence("it was stopped by {admin}", admin=by))
    return find_arena(session, arena.id)


def close_arena(session: Session, arena_id: int) -> bool:
    """Close an open arena whose results were shown; return whether it was open."""
    return _advance(session, arena_id, ArenaStatus.OPEN, status=ArenaStatus.CLOSED, closed_at=utc_now())


def fail_arena(session: Session, arena_id: int, reason: str) -> bool:
    """End an unfinished arena and keep the votes on its answers; return whether it was unfinished."""
    values = {"status": ArenaStatus.FAILED, "closed_at": utc_now(), "reason": reason}
    return any(_advance(session, arena_id, status, **values) for status in UNFINISHED)


def fail_unprepared(session: Session, shards: Shards = ALL) -> list[Arena]:
    """Fail the arenas that a dead process of these shards was preparing, and return them."""
    preparing = select(ArenaRow.id).where(ArenaRow.status == ArenaStatus.PREPARING, shards.of(ArenaRow.guild_id))
    prepared = session.scalars(preparing).all()
    for arena_id in prepared:
        fail_arena(session, arena_id, Sentence("the bot restarted while preparing it"))
    return [find_arena(session, arena_id) for arena_id in prepared]


def find_arena(session: Session, arena_id: int) -> Arena:
    return from_row(Arena, session.get_one(ArenaRow, arena_id, populate_existing=True))


def unfinished_arena(session: Session, channel_id: int) -> Arena | None:
    """Return the channel's arena that is being prepared or open, or None."""
    unfinished = select(ArenaRow).where(ArenaRow.channel_id == channel_id, ArenaRow.status.in_(UNFINISHED))
    return read_first(session, Arena, unfinished)


def open_arenas(session: Session, due_at: datetime | None = None, shards: Shards = ALL) -> list[Arena]:
    """Return the arenas whose results were not shown yet, oldest first; with `due_at`, those that close by then."""
    unshown = select(ArenaRow).where(ArenaRow.status == ArenaStatus.OPEN, shards.of(ArenaRow.guild_id))
    if due_at is not None:
        unshown = unshown.where(ArenaRow.closes_at <= due_at)
    return read_all(session, Arena, unshown.order_by(ArenaRow.id))


def recent_arenas(session: Session, guild_id: int, limit: int) -> list[Arena]:
    """Return the server's latest arenas, newest first."""
    newest_first = select(ArenaRow).where(ArenaRow.guild_id == guild_id).order_by(ArenaRow.id.desc())
    return read_all(session, Arena, newest_first.limit(limit))


def last_used(session: Session, personality_id: int) -> dict[str, datetime]:
    """Return the time when each prompt was last used in an arena."""
    rows = session.execute(
        select(ArenaRow.prompt, func.max(ArenaRow.started_at))
        .where(ArenaRow.personality_id == personality_id)
        .group_by(ArenaRow.prompt)
    )
    return dict(rows.all())


def last_scheduled(session: Session) -> datetime | None:
    """Return the time when the schedule last started an arena, or None."""
    return session.scalar(select(func.max(ArenaRow.started_at)).where(ArenaRow.started_by == SCHEDULE))


def read_arena_answers(session: Session, arena_id: int) -> list[ArenaAnswer]:
    """Return an arena's answers in the order of their positions."""
    rows = session.execute(
        select(ArenaAnswerRow.position, ReplyRow.id, VersionRow.number, ReplyRow.answer)
        .join(ReplyRow, ReplyRow.id == ArenaAnswerRow.reply_id)
        .outerjoin(VersionRow, VersionRow.id == ReplyRow.version_id)
        .where(ArenaAnswerRow.arena_id == arena_id)
        .order_by(ArenaAnswerRow.position)
    ).all()
    return [
        ArenaAnswer(position, reply_id, version_name(number), text, tally(votes_on(session, reply_id).values()).up)
        for position, reply_id, number, text in rows
    ]


def read_results(session: Session, arena_id: int) -> list[ArenaAnswer]:
    """Like `read_arena_answers`, but waits for picks in progress, so that the counts are final."""
    lock_arena(session, arena_id)
    return read_arena_answers(session, arena_id)


def lock_arena(session: Session, arena_id: int) -> ArenaRow:
    """Lock the arena against other picks until this transaction ends, and return its current row.

    Only PostgreSQL needs it: SQLite has one writer at a time.
    """
    return session.get_one(ArenaRow, arena_id, with_for_update={"key_share": True}, populate_existing=True)


def _advance(session: Session, arena_id: int, expected: ArenaStatus, **values: Any) -> bool:
    result = session.execute(
        update(ArenaRow).where(ArenaRow.id == arena_id, ArenaRow.status == expected).values(**values)
    )
    return changed_rows(result) == 1


class PickGesture(StrEnum):
    """An action of a member that sets or withdraws their pick."""

    PRESSED = "pressed"
    """A button: sets the pick, or withdraws the same pick."""
    REACTED = "reacted"
    """A number reaction was added: sets the pick."""
    UNREACTED = "unreacted"
    """A number reaction was removed: withdraws the same pick."""
    FOUND = "found"
    """A number reaction that may be older than the stored pick: counts only for members without votes in the arena."""


def pick(
    session: Session,
    arena_id: int,
    user_id: int,
    position: int,
    gesture: PickGesture,
    *,
    joined_at: datetime | None = None,
    reread: bool = False,
) -> int | None:
    """Apply a member's gesture at an answer of an open arena, and return the position of their pick now, if any.

    The picked answer gets the member's 👍 and the others get 👎, like votes under any answer. `joined_at` is the time
    when they joined the server, if Discord reports it. `reread` marks a reaction that was found on Discord, at an
    unknown time; it counts until the results are shown. Raises ArenaClosed.
    """
    if reread:
        lock_personalities(session)  # first: a deletion locks in this order too
    arena = lock_arena(session, arena_id)
    is_late = arena.closes_at <= utc_now() and not reread
    if arena.status is not ArenaStatus.OPEN or is_late:
        raise ArenaClosed
    if arena.guild_id is not None and joined_at is not None:
        note_members(session, arena.guild_id, {user_id: joined_at})
    replies = _replies(session, arena_id)
    liked = (at for at, reply_id in replies.items() if votes_on(session, reply_id).get(user_id) is Vote.UP)
    current = next(liked, None)
    if position not in replies or (gesture is PickGesture.FOUND and _has_voted(session, replies, user_id)):
        return current
    picked = _pick_after(gesture, current, position)
    message_id = arena.message_id or 0
    changes = (_events(one, message_id, user_id, at, picked, reread=reread) for at, one in replies.items())
    append_events(session, [event for events in changes for event in events])
    return picked


def _pick_after(gesture: PickGesture, current: int | None, position: int) -> int | None:
    if gesture in (PickGesture.REACTED, PickGesture.FOUND):
        return position
    if current == position:
        return None
    return position if gesture is PickGesture.PRESSED else current


def _events(
    reply_id: int, message_id: int, user_id: int, position: int, picked: int | None, *, reread: bool
) -> Iterator[VoteEvent]:
    for emoji, added in ((UP, picked == position), (DOWN, picked not in (None, position))):
        yield VoteEvent(reply_id, Thumb(message_id, user_id, emoji), added, reread)


def _replies(session: Session, arena_id: int) -> dict[int, int]:
    """Return {position: reply id}."""
    rows = session.execute(
        select(ArenaAnswerRow.position, ArenaAnswerRow.reply_id).where(ArenaAnswerRow.arena_id == arena_id)
    )
    return dict(rows.all())


def _has_voted(session: Session, replies: Mapping[int, int], user_id: int) -> bool:
    """Return whether the member has ever voted on one of the replies, withdrawn votes included."""
    events = select(VoteEventRow.id).where(VoteEventRow.reply_id.in_(replies.values()), VoteEventRow.user_id == user_id)
    return any_row(session, events)
