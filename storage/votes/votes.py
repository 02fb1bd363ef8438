"""Votes: append-only reaction events, from which each member's current vote is derived."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from typing import Any

from sqlalchemy import ColumnElement, Select, Subquery, case, func, insert, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from storage.conversations.replies import lock_replies
from storage.database.database import vote_emoji_of
from storage.database.enums import CHOSEN_AMONG, Origin, QuarantineStatus
from storage.database.rows import in_parts
from storage.database.tables import ErasureRow, QuarantinedVoteRow, QuarantineRow, ReplyRow, VoteEventRow
from storage.emoji import THUMBS
from storage.personalities.personalities import lock_personalities


class Vote(StrEnum):
    UP = "up"
    DOWN = "down"


def meanings(session: Session) -> dict[str, Vote]:
    """Return {spelling: vote} for all spellings of the emoji that vote."""
    known = vote_emoji_of(session)
    return {spelling: Vote.UP if known.weights[emoji] > 0 else Vote.DOWN for spelling, emoji in known.spelled.items()}


@dataclass(frozen=True)
class Thumb:
    """One user's reaction that votes: a thumb, or another emoji of `votes.emoji`."""

    message_id: int
    user_id: int
    emoji: str
    """The emoji as Discord spells it; for a server's own emoji, its ID."""
    burst: bool = False


@dataclass(frozen=True)
class VoteEvent:
    """A thumb was added or removed."""

    reply_id: int
    thumb: Thumb
    added: bool
    reread: bool = False
    """True if it was found when the reactions were read again, so that its time is unknown."""


@dataclass(frozen=True)
class Tally:
    up: int = 0
    down: int = 0

    @property
    def total(self) -> int:
        return self.up + self.down


@dataclass(frozen=True)
class FeedbackCounts:
    """Numbers of what people said about a personality's answers; a taste's has votes on the newest answers alone."""

    votes: int = 0
    """Number of 👍, 👎 and other emoji that vote: one for each member and answer. Thumbs that are part of a choice
    are left out."""
    choices: int = 0
    """Number of times that somebody said which of several blind answers is better, or that they are about the same."""
    others: int = 0
    """Number of 🔁 and suggested answers by members who did not vote on the answer."""
    people: int = 0
    """Number of people behind them."""

    @property
    def total(self) -> int:
        return self.votes + self.choices + self.others


class NotOnVersion(StrEnum):
    """The reason why a vote does not count for or against a version."""

    ON_HOLD = "on hold"
    IN_CONSOLE = "in console"
    """A vote on an answer that an admin drew to try versions is not approval in conversations."""
    OTHER_STRENGTH = "other strength"
    """The answer was not given at the strength that was trained."""


@dataclass(frozen=True)
class VersionVotes:
    by_version: Mapping[int | None, Tally]
    """Votes on each version's answers, by version id; None is the base model."""
    left_out: Mapping[NotOnVersion, int]
    """Number of votes that are not in `by_version`, by reason."""

    def on(self, version_id: int | None) -> Tally:
        return self.by_version.get(version_id, Tally())

    @property
    def shown(self) -> int:
        return sum(votes.total for votes in self.by_version.values())

    @property
    def given(self) -> int:
        """Number of votes as `FeedbackCounts` counts them, before any rule."""
        return self.shown + sum(self.left_out.values())


def append_events(session: Session, events: Iterable[VoteEvent]) -> list[VoteEvent]:
    """Store the events that change something, in order, and return them.

    Events of a deleted reply are skipped, and so are reread thumbs that may be older than the deletion of their owner's
    data: they are still on Discord, but must not be stored again.
    """
    events = list(events)
    if any(event.reread for event in events):
        lock_personalities(session)  # a deletion at the same time would miss the thumbs that are added here
    erased = _erased(session, events)
    replies = lock_replies(session, {event.reply_id for event in events})
    standing = _standing(session, replies, {event.thumb.user_id for event in events})
    changes = []
    for event in events:
        one = (event.reply_id, event.thumb)
        if event.reply_id in replies and event not in erased and (one in standing) != event.added:
            changes.append(event)
            (standing.add if event.added else standing.discard)(one)
    if changes:
        rows = [{"reply_id": event.reply_id, "added": event.added, **vars(event.thumb)} for event in changes]
        session.execute(insert(VoteEventRow), rows)
    return changes


def _erased(session: Session, events: Collection[VoteEvent]) -> set[VoteEvent]:
    """Return the reread thumbs whose owner deleted their data after the reply was written."""
    reread = {event for event in events if event.reread and event.added}
    if not reread:
        return set()
    deletions = (
        select(ReplyRow.id, ErasureRow.user_id)
        .join(ErasureRow, ErasureRow.erased_at >= ReplyRow.created_at)
        .where(
            ReplyRow.id.in_({event.reply_id for event in reread}),
            ErasureRow.user_id.in_({event.thumb.user_id for event in reread}),
        )
    )
    deleted = {tuple(row) for row in session.execute(deletions)}
    return {event for event in reread if (event.reply_id, event.thumb.user_id) in deleted}


def current_thumbs(session: Session, reply_ids: Collection[int]) -> set[Thumb]:
    """Return the thumbs that are under the replies now."""
    return {thumb for _, thumb in _standing(session, reply_ids)}


def _standing(session: Session, reply_ids: Collection[int], user_ids: Collection[int] = ()) -> set[tuple[int, Thumb]]:
    """Return (reply ID, thumb) of each; the message ID is not enough, as it is 0 if an answer was never on Discord."""
    if not reply_ids:
        return set()
    row = VoteEventRow
    query = _current(row.reply_id, row.message_id, row.user_id, row.emoji, row.burst).where(row.reply_id.in_(reply_ids))
    if user_ids:
        query = query.where(row.user_id.in_(user_ids))
    return {(reply_id, Thumb(*thumb)) for reply_id, *thumb in session.execute(query)}


def votes_on(session: Session, reply_id: int) -> dict[int, Vote]:
    """Return {user id: vote} for one reply."""
    query = _current(VoteEventRow.reply_id, VoteEventRow.user_id, VoteEventRow.emoji)
    return _votes(session, query.where(VoteEventRow.reply_id == reply_id)).get(reply_id, {})


def votes_by(session: Session, user_id: int, reply_ids: Collection[int]) -> dict[int, Vote]:
    """Return {reply id: vote} of one user on these replies."""
    query = _current(VoteEventRow.reply_id, VoteEventRow.user_id, VoteEventRow.emoji)
    theirs = query.where(VoteEventRow.reply_id.in_(reply_ids), VoteEventRow.user_id == user_id)
    return {reply_id: votes[user_id] for reply_id, votes in _votes(session, theirs).items()}


def read_emoji_weights(session: Session, reply_ids: Collection[int]) -> dict[tuple[int, int], float]:
    """Return {(reply id, user id): weight in thumbs, without a sign} of the votes where other emoji vote, too.

    Of several emoji under one reply, the strongest counts.
    """
    known = vote_emoji_of(session)
    others = [spelling for spelling, emoji in known.spelled.items() if emoji not in THUMBS]
    standing: dict[tuple[int, int], set[str]] = defaultdict(set)
    for some in in_parts(reply_ids):
        with_others = select(VoteEventRow.reply_id).where(
            VoteEventRow.reply_id.in_(some), VoteEventRow.emoji.in_(others)
        )
        query = _current(VoteEventRow.reply_id, VoteEventRow.user_id, VoteEventRow.emoji)
        for reply_id, user_id, emoji in session.execute(query.where(VoteEventRow.reply_id.in_(with_others))):
            if emoji in known.spelled:
                standing[reply_id, user_id].add(emoji)
    return {key: known.strength(emoji) for key, emoji in standing.items()}


def tally(votes: Collection[Vote]) -> Tally:
    up = sum(vote is Vote.UP for vote in votes)
    return Tally(up=up, down=len(votes) - up)


def read_version_votes(session: Session, personality_id: int) -> VersionVotes:
    """Return the votes on each version's answers, unweighted."""
    current = current_votes(session).subquery()
    out, is_same = _held(current)
    votes = select(current, out.c.reply_id.is_not(None).label("is_held")).outerjoin(out, is_same).subquery()
    answers = (ReplyRow.personality_id, ReplyRow.version_id, ReplyRow.origin, ReplyRow.strength, votes.c.is_held)
    tallies = (
        select(*answers, func.sum(case((votes.c.is_up, 1), else_=0)), func.count())
        .select_from(votes)
        # With an inner join SQLite would start at the replies, which is slower.
        .outerjoin(ReplyRow, ReplyRow.id == votes.c.reply_id)
        .group_by(*answers)
    )
    found: dict[int | None, Tally] = defaultdict(Tally)
    left_out: Counter[NotOnVersion] = Counter()
    for owner, version_id, origin, strength, is_held, ups, given in session.execute(tallies).all():
        if owner != personality_id or origin in CHOSEN_AMONG:
            continue
        if is_held:
            left_out[NotOnVersion.ON_HOLD] += given
        elif origin is Origin.PLAYGROUND:
            left_out[NotOnVersion.IN_CONSOLE] += given
        elif version_id is not None and strength != 1.0:
            left_out[NotOnVersion.OTHER_STRENGTH] += given
        else:
            so_far = found[version_id]
            found[version_id] = Tally(so_far.up + ups, so_far.down + given - ups)
    return VersionVotes(dict(found), dict(left_out))


def chosen_among(session: Session, personality_id: int) -> set[int]:
    """Return the answers whose thumbs are parts of choices."""
    drawn = ReplyRow.personality_id == personality_id, ReplyRow.origin.in_(CHOSEN_AMONG)
    return set(session.scalars(select(ReplyRow.id).where(*drawn)))


def current_votes(session: Session, *columns: ColumnElement[Any]) -> Select[*tuple[Any, ...]]:
    """Select (reply, user, `is_up`, *columns) of each current vote; a like and a dislike of one user cancel."""
    up, down = (net_count(session, said) > 0 for said in Vote)
    who = VoteEventRow.reply_id, VoteEventRow.user_id
    return select(*who, up.label("is_up"), *columns).group_by(*who).having(up != down)


def not_quarantined(votes: Subquery) -> Select[Any]:
    """Select the votes that are not in quarantine; they need the columns `reply_id` and `user_id`."""
    out, is_same = _held(votes)
    # An outer join: on a million events, NOT IN takes SQLite minutes, and NOT EXISTS twice as long.
    return select(votes).outerjoin(out, is_same).where(out.c.reply_id.is_(None))


def _held(votes: Subquery) -> tuple[Subquery, ColumnElement[bool]]:
    """Return the quarantined votes, and the condition that joins `votes` to them."""
    out = quarantined_votes().distinct().subquery()
    return out, (out.c.reply_id == votes.c.reply_id) & (out.c.user_id == votes.c.user_id)


def quarantined_votes() -> Select[int, int]:
    """Select reply and user of the votes in a quarantine that is open or that an admin left out."""
    return (
        select(QuarantinedVoteRow.reply_id, QuarantinedVoteRow.user_id)
        .join(QuarantineRow)
        .where(QuarantineRow.status != QuarantineStatus.COUNTED)
    )


def net_count(session: Session, said: Vote) -> ColumnElement[int]:
    """Count a user's current thumbs of that kind under a reply.

    `append_events` stores only changes, so additions and removals of a thumb alternate and can be summed. That saves a
    second grouping, which takes SQLite a second for a million events.
    """
    change = case((VoteEventRow.added, 1), else_=-1)
    return func.sum(case((VoteEventRow.emoji.in_(spellings(session, said)), change), else_=0))


def spellings(session: Session, said: Vote) -> list[str]:
    """Return every spelling of the emoji that mean this vote."""
    return [spelling for spelling, vote in meanings(session).items() if vote is said]


@cache  # building the statement takes as long as running it for one reply
def _current(*columns: InstrumentedAttribute[Any]) -> Select[*tuple[Any, ...]]:
    """Select one row per thumb whose latest event is an addition; ids grow in the order of arrival."""
    added = func.max(VoteEventRow.id).filter(VoteEventRow.added)
    removed = func.max(VoteEventRow.id).filter(~VoteEventRow.added)
    return (
        select(*columns)
        .group_by(
            VoteEventRow.reply_id,
            VoteEventRow.user_id,
            VoteEventRow.message_id,
            VoteEventRow.emoji,
            VoteEventRow.burst,
        )
        .having(added > func.coalesce(removed, 0))
    )


def _votes(session: Session, thumbs: Select[*tuple[Any, ...]]) -> dict[int, dict[int, Vote]]:
    """Read {reply id: {user id: vote}} from rows of reply, user and emoji; a like and a dislike of one user cancel."""
    votes: dict[int, dict[int, Vote]] = defaultdict(dict)
    cancelled, known = set(), meanings(session)
    for reply_id, user_id, emoji in session.execute(thumbs):
        said = known.get(emoji)
        if said is not None and votes[reply_id].setdefault(user_id, said) is not said:
            cancelled.add((reply_id, user_id))
    for reply_id, user_id in cancelled:
        del votes[reply_id][user_id]
    return {reply_id: of_reply for reply_id, of_reply in votes.items() if of_reply}
