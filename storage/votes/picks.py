"""Picks in an arena: stored as votes on its answers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from enum import StrEnum

from sqlalchemy import select
from sqlalchemy.orm import Session

from storage.database.columns import utc_now
from storage.database.enums import ArenaStatus
from storage.database.rows import any_row
from storage.database.tables import ArenaAnswerRow, VoteEventRow
from storage.errors import ArenaClosed
from storage.members import note_members
from storage.personalities.personalities import lock_personalities
from storage.votes.arenas import lock_arena
from storage.votes.votes import Thumb, Vote, VoteEvent, append_events, votes_on

UP, DOWN = "👍", "👎"


class PickGesture(StrEnum):
    """What a member did, which decides about their pick."""

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

    The picked answer gets the member's 👍 and the others get 👎, like votes under any answer. `joined_at` is when
    they joined the server, if Discord says so. `reread` marks a reaction that was found on Discord, at an unknown
    time; it counts until the results are shown. Raises ArenaClosed.
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
    # One call per reply, because within one call the same thumb under the same message is the same vote; in the order
    # in which others lock the replies.
    for at, reply_id in sorted(replies.items(), key=lambda item: item[1]):
        append_events(session, _events(reply_id, arena.message_id or 0, user_id, at, picked, reread=reread))
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
    """Return whether the member ever voted on one of the replies, withdrawn votes included."""
    events = select(VoteEventRow.id).where(VoteEventRow.reply_id.in_(replies.values()), VoteEventRow.user_id == user_id)
    return any_row(session, events)
