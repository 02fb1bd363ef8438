"""Arenas: a prompt of the operator's with blind answers, open for picks once, closed once.

What an admin types is the operator's own prompt bank too; no word of any other member is stored.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from storage.conversations.replies import FinishedReply, NewReply, finish_reply, start_reply
from storage.database.columns import utc_now
from storage.database.enums import ArenaStatus
from storage.database.rows import changed_rows, from_row
from storage.database.tables import ArenaAnswerRow, ArenaRow, ReplyRow, VoteEventRow
from storage.errors import ArenaClosed, ArenaConflict
from storage.members.memberships import note_members
from storage.personalities.personalities import lock_personalities, lock_personality
from storage.releases.versions import find_version, name_of
from storage.runtime.shards import ALL, Shards
from storage.votes.votes import Thumb, Vote, VoteEvent, append_events, tally, votes_on

SCHEDULE = "schedule"
"""Who started an arena, where it was the clock."""
UP, DOWN = "👍", "👎"
UNFINISHED = (ArenaStatus.PREPARING, ArenaStatus.OPEN)


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
    """What stands at a place of an arena, and how many members picked it."""

    position: int
    reply_id: int
    version: str
    text: str
    picks: int


class PickGesture(StrEnum):
    """What a member did, and so what it does to their pick."""

    PRESSED = "pressed"
    """A button, which sets the pick or takes back the same one."""
    REACTED = "reacted"
    """A number reaction appeared: it sets the pick."""
    UNREACTED = "unreacted"
    """A number reaction went: it takes back the same pick."""
    FOUND = "found"
    """A number reaction that may be older than what is stored: it counts for those who never voted in the arena."""


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
    """Add an arena that has no answers yet; raises ArenaConflict where the channel has an unfinished one."""
    lock_personality(session, personality_id)  # two admins at once: the second one sees the first one's row
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
    """Note the Discord message of an arena."""
    session.get_one(ArenaRow, arena_id).message_id = message_id


def open_arena(
    session: Session, arena_id: int, answers: Sequence[tuple[NewReply, FinishedReply]], closes_at: datetime
) -> Arena:
    """Write the answers, whose places are their order, and open a prepared arena.

    Raises ArenaConflict where it was ended meanwhile; nothing is written then.
    """
    if not _advance(session, arena_id, ArenaStatus.PREPARING, status=ArenaStatus.OPEN, closes_at=closes_at):
        raise ArenaConflict(f"arena {arena_id} was stopped while it was being prepared")
    for position, (new, finished) in enumerate(answers, start=1):
        reply_id = start_reply(session, new)
        finish_reply(session, reply_id, finished)
        session.add(ArenaAnswerRow(arena_id=arena_id, position=position, reply_id=reply_id))
    session.flush()
    return find_arena(session, arena_id)


def stop_arena(session: Session, channel_id: int, by: str) -> Arena:
    """Let the channel's arena take no more picks; one without answers yet fails. Raises ArenaConflict without one."""
    arena = unfinished_arena(session, channel_id)
    if arena is None:
        raise ArenaConflict("that channel has no arena: nothing was stopped")
    if not _advance(session, arena.id, ArenaStatus.OPEN, closes_at=utc_now()):
        fail_arena(session, arena.id, f"it was stopped by {by}")
    return find_arena(session, arena.id)


def close_arena(session: Session, arena_id: int) -> bool:
    """End an open arena whose results were shown; return whether it was open."""
    return _advance(session, arena_id, ArenaStatus.OPEN, status=ArenaStatus.CLOSED, closed_at=utc_now())


def fail_arena(session: Session, arena_id: int, reason: str) -> bool:
    """End an unfinished arena; votes on its answers stand. Return whether it was unfinished."""
    values = {"status": ArenaStatus.FAILED, "closed_at": utc_now(), "reason": reason}
    return any(_advance(session, arena_id, status, **values) for status in UNFINISHED)


def fail_unprepared(session: Session, shards: Shards = ALL) -> list[Arena]:
    """Mark arenas that a dead process of these shards was preparing, and return them."""
    preparing = select(ArenaRow.id).where(ArenaRow.status == ArenaStatus.PREPARING, shards.of(ArenaRow.guild_id))
    prepared = session.scalars(preparing).all()
    for arena_id in prepared:
        fail_arena(session, arena_id, "the bot restarted while preparing it")
    return [find_arena(session, arena_id) for arena_id in prepared]


def find_arena(session: Session, arena_id: int) -> Arena:
    return from_row(Arena, session.get_one(ArenaRow, arena_id, populate_existing=True))


def unfinished_arena(session: Session, channel_id: int) -> Arena | None:
    """Return the arena that is prepared or open in the channel, or None."""
    row = session.scalar(
        select(ArenaRow).where(ArenaRow.channel_id == channel_id, ArenaRow.status.in_(UNFINISHED)).limit(1)
    )
    return from_row(Arena, row) if row else None


def open_arenas(session: Session, due_at: datetime | None = None, shards: Shards = ALL) -> list[Arena]:
    """Return the arenas whose results were not shown yet, oldest first; with `due_at` those that close by then."""
    unshown = select(ArenaRow).where(ArenaRow.status == ArenaStatus.OPEN, shards.of(ArenaRow.guild_id))
    query = unshown.order_by(ArenaRow.id)
    if due_at is not None:
        query = query.where(ArenaRow.closes_at <= due_at)
    return [from_row(Arena, row) for row in session.scalars(query)]


def recent_arenas(session: Session, guild_id: int, limit: int) -> list[Arena]:
    """Return the arenas that were started last in the server, newest first."""
    rows = session.scalars(
        select(ArenaRow).where(ArenaRow.guild_id == guild_id).order_by(ArenaRow.id.desc()).limit(limit)
    )
    return [from_row(Arena, row) for row in rows]


def last_used(session: Session, personality_id: int) -> dict[str, datetime]:
    """Return when each prompt was asked in an arena for the last time."""
    rows = session.execute(
        select(ArenaRow.prompt, func.max(ArenaRow.started_at))
        .where(ArenaRow.personality_id == personality_id)
        .group_by(ArenaRow.prompt)
    )
    return {row.prompt: row[1] for row in rows}


def last_scheduled(session: Session) -> datetime | None:
    """Return when the clock started an arena for the last time, or None."""
    return session.scalar(select(func.max(ArenaRow.started_at)).where(ArenaRow.started_by == SCHEDULE))


def read_arena_answers(session: Session, arena_id: int) -> list[ArenaAnswer]:
    """Return an arena's answers in the order of their places."""
    rows = session.execute(
        select(ArenaAnswerRow.position, ReplyRow.id, ReplyRow.version_id, ReplyRow.answer)
        .join(ReplyRow, ReplyRow.id == ArenaAnswerRow.reply_id)
        .where(ArenaAnswerRow.arena_id == arena_id)
        .order_by(ArenaAnswerRow.position)
    ).all()
    return [
        ArenaAnswer(position, reply_id, name_of(find_version(session, version_id)), text, _picks(session, reply_id))
        for position, reply_id, version_id, text in rows
    ]


def read_results(session: Session, arena_id: int) -> list[ArenaAnswer]:
    """Like `read_arena_answers`, after waiting for picks in progress: the counts of a closed arena are final."""
    _hold(session, arena_id)
    return read_arena_answers(session, arena_id)


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
    """Apply a member's gesture at a place of an open arena, and return the place that they pick now, if any.

    The picked answer gets the member's 👍, the others their 👎, as under any answer. `joined_at` is since when they are
    a member of the server, where Discord tells. `reread` marks what was found on
    Discord, so that nobody knows when it happened; it counts until the results are shown. Raises ArenaClosed.
    """
    if reread:
        lock_personalities(session)  # before anything else: a deletion locks in this order too
    arena = _hold(session, arena_id)
    is_late = arena.closes_at <= utc_now() and not reread
    if arena.status is not ArenaStatus.OPEN or is_late:
        raise ArenaClosed
    if arena.guild_id is not None and joined_at is not None:
        note_members(session, arena.guild_id, {user_id: joined_at})
    replies = _replies(session, arena_id)
    standing = _standing_pick(session, replies, user_id)
    if position not in replies or (gesture is PickGesture.FOUND and _has_voted(session, replies, user_id)):
        return standing
    picked = _after(gesture, standing, position)
    # One call for each reply, in the order in which others lock them: within one call the same thumb under the same
    # message is the same vote.
    for place, reply_id in sorted(replies.items(), key=lambda item: item[1]):
        append_events(session, _events(reply_id, arena.message_id or 0, user_id, place, picked, reread=reread))
    return picked


def _after(gesture: PickGesture, standing: int | None, position: int) -> int | None:
    """Return the pick that stands after a gesture at a place."""
    if gesture in (PickGesture.REACTED, PickGesture.FOUND):
        return position
    if standing == position:
        return None
    return position if gesture is PickGesture.PRESSED else standing


def _events(
    reply_id: int, message_id: int, user_id: int, place: int, picked: int | None, *, reread: bool
) -> Iterator[VoteEvent]:
    for emoji, stands in ((UP, picked == place), (DOWN, picked not in (None, place))):
        yield VoteEvent(reply_id, Thumb(message_id, user_id, emoji), stands, reread)


def _replies(session: Session, arena_id: int) -> dict[int, int]:
    """Return {place: reply id}."""
    rows = session.execute(
        select(ArenaAnswerRow.position, ArenaAnswerRow.reply_id).where(ArenaAnswerRow.arena_id == arena_id)
    )
    return {row.position: row.reply_id for row in rows}


def _standing_pick(session: Session, replies: Mapping[int, int], user_id: int) -> int | None:
    liked = (place for place, reply_id in replies.items() if votes_on(session, reply_id).get(user_id) is Vote.UP)
    return next(liked, None)


def _has_voted(session: Session, replies: Mapping[int, int], user_id: int) -> bool:
    """Return whether the member ever picked one of the replies, withdrawn or not."""
    found = session.scalar(
        select(VoteEventRow.id)
        .where(VoteEventRow.reply_id.in_(replies.values()), VoteEventRow.user_id == user_id)
        .limit(1)
    )
    return found is not None


def _picks(session: Session, reply_id: int) -> int:
    return tally(votes_on(session, reply_id).values()).up


def _hold(session: Session, arena_id: int) -> ArenaRow:
    """Let no other transaction pick in the arena until this one ends, and return its row as it is now.

    PostgreSQL alone needs it: SQLite has one writer at a time.
    """
    return session.get_one(ArenaRow, arena_id, with_for_update={"key_share": True}, populate_existing=True)


def _advance(session: Session, arena_id: int, expected: ArenaStatus, **values: Any) -> bool:
    result = session.execute(
        update(ArenaRow).where(ArenaRow.id == arena_id, ArenaRow.status == expected).values(**values)
    )
    return changed_rows(result) == 1
