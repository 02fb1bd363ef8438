"""Votes: append-only reaction events, from which each member's current vote is derived."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import Select, func, insert, select
from sqlalchemy.orm import Session

from storage.schema import ReplyRow, VoteEventRow

SKIN_TONES = "🏻🏼🏽🏾🏿"
VARIATION_SELECTOR = "\ufe0f"


class Vote(StrEnum):
    UP = "up"
    DOWN = "down"


THUMBS = {"👍": Vote.UP, "👎": Vote.DOWN}


def thumb(emoji: str) -> Vote | None:
    """Return what the emoji says, in any skin tone, or None where it is no thumb."""
    return THUMBS.get(emoji.rstrip(SKIN_TONES + VARIATION_SELECTOR))


@dataclass(frozen=True)
class Thumb:
    """One reaction that one user can set: its identity in Discord."""

    message_id: int
    user_id: int
    emoji: str
    burst: bool = False


@dataclass(frozen=True)
class VoteEvent:
    """A thumb appeared (`standing`) or went."""

    reply_id: int
    thumb: Thumb
    standing: bool


@dataclass(frozen=True)
class Tally:
    up: int = 0
    down: int = 0


def append_events(session: Session, events: Iterable[VoteEvent]) -> int:
    """Store those events that change something, in order, and return how many did."""
    events = list(events)
    standing = {t for reply_id in {e.reply_id for e in events} for t in standing_thumbs(session, [reply_id])}
    changes = []
    for event in events:
        if (event.thumb in standing) != event.standing:
            changes.append(event)
            (standing.add if event.standing else standing.discard)(event.thumb)
    if changes:
        session.execute(insert(VoteEventRow), [_values(event) for event in changes])
    return len(changes)


def _values(event: VoteEvent) -> dict[str, object]:
    return {
        "reply_id": event.reply_id,
        "message_id": event.thumb.message_id,
        "user_id": event.thumb.user_id,
        "emoji": event.thumb.emoji,
        "burst": event.thumb.burst,
        "standing": event.standing,
    }


def standing_thumbs(session: Session, reply_ids: Collection[int]) -> set[Thumb]:
    """Return the thumbs that stand under the replies now."""
    latest = _latest_events().where(VoteEventRow.reply_id.in_(reply_ids)).subquery()
    rows = session.execute(
        select(VoteEventRow.message_id, VoteEventRow.user_id, VoteEventRow.emoji, VoteEventRow.burst)
        .join(latest, VoteEventRow.id == latest.c.id)
        .where(VoteEventRow.standing)
    )
    return {Thumb(*row) for row in rows}


def current_votes(session: Session, personality_id: int | None = None) -> dict[int, dict[int, Vote]]:
    """Return {reply id: {user id: vote}} of every vote that stands; withdrawn ones are absent."""
    latest = _latest_events()
    if personality_id is not None:
        latest = latest.join(ReplyRow, ReplyRow.id == VoteEventRow.reply_id).where(
            ReplyRow.personality_id == personality_id
        )
    return _votes(session, latest)


def votes_on(session: Session, reply_id: int) -> dict[int, Vote]:
    """Return {user id: vote} for one reply."""
    return _votes(session, _latest_events().where(VoteEventRow.reply_id == reply_id)).get(reply_id, {})


def tally(votes: Mapping[int, Vote]) -> Tally:
    up = sum(vote is Vote.UP for vote in votes.values())
    return Tally(up=up, down=len(votes) - up)


def tally_by_version(session: Session, personality_id: int) -> dict[int | None, Tally]:
    """Return the standing votes of each version's answers; None is the base model."""
    versions = dict(
        session.execute(select(ReplyRow.id, ReplyRow.version_id).where(ReplyRow.personality_id == personality_id)).all()
    )
    merged: dict[int | None, list[Vote]] = defaultdict(list)
    for reply_id, votes in current_votes(session, personality_id).items():
        merged[versions[reply_id]].extend(votes.values())
    return {version: tally(dict(enumerate(votes))) for version, votes in merged.items()}


def resolve(thumbs: Iterable[str]) -> Vote | None:
    """Return one member's vote from the thumbs that stand; both, or none, is no vote."""
    said = {thumb(emoji) for emoji in thumbs} - {None}
    return said.pop() if len(said) == 1 else None


def _latest_events() -> Select[int]:
    """Select the id of each thumb's latest event; ids grow in the order of arrival."""
    return select(func.max(VoteEventRow.id).label("id")).group_by(
        VoteEventRow.reply_id,
        VoteEventRow.user_id,
        VoteEventRow.message_id,
        VoteEventRow.emoji,
        VoteEventRow.burst,
    )


def _votes(session: Session, latest: Select[int]) -> dict[int, dict[int, Vote]]:
    ids = latest.subquery()
    rows = session.execute(
        select(VoteEventRow.reply_id, VoteEventRow.user_id, VoteEventRow.emoji)
        .join(ids, VoteEventRow.id == ids.c.id)
        .where(VoteEventRow.standing)
    )
    thumbs: dict[tuple[int, int], set[str]] = defaultdict(set)
    for reply_id, user_id, emoji in rows:
        thumbs[reply_id, user_id].add(emoji)
    votes: dict[int, dict[int, Vote]] = defaultdict(dict)
    for (reply_id, user_id), emojis in thumbs.items():
        vote = resolve(emojis)
        if vote is not None:
            votes[reply_id][user_id] = vote
    return dict(votes)
