"""Quarantines: finds bursts of votes, which then do not count until an admin decides."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session

from storage.database.database import Database
from storage.database.enums import Origin, QuarantineRule, QuarantineStatus
from storage.database.tables import QuarantinedVoteRow, QuarantineRow, ReplyRow
from storage.members.memberships import read_talkers
from storage.personalities.personalities import lock_personality
from storage.settings.sections import VoteSettings
from storage.votes.bursts import Burst, SuspectVote, find_bursts
from storage.votes.votes import votes_on
from storage.votes.weights import StandingVote, weigh_votes

VoteKey = tuple[int, int]
"""Reply id and user id; a member has one vote per reply."""


class _Held(NamedTuple):
    """A vote's quarantine."""

    quarantine_id: int
    rule: QuarantineRule
    status: QuarantineStatus
    vote: str


def new_bursts(session: Session, personality_id: int, settings: VoteSettings) -> list[Burst]:
    """Return the bursts with a vote that no admin has seen yet, for `quarantine_votes`; reads only.

    Votes that an admin counted are trusted from then on. Votes that were left out still count as evidence, so that
    latecomers to such a burst are quarantined too.
    """
    if settings.burst_votes == 0:
        return []
    held = _read_held(session, QuarantineRow.personality_id == personality_id)
    suspects = list(_suspects(session, personality_id, settings, held))
    return [burst for burst in find_bursts(suspects, settings) if any(v.held_under is None for v in burst.votes)]


def _suspects(
    session: Session, personality_id: int, settings: VoteSettings, held: Mapping[VoteKey, Sequence[_Held]]
) -> Iterator[SuspectVote]:
    """Yield the votes of new or silent accounts, except those that an admin counted."""
    talkers = read_talkers(session)
    replies = {
        reply_id: (author_id, version_id or 0, origin)
        for reply_id, author_id, version_id, origin in session.execute(
            select(ReplyRow.id, ReplyRow.author_id, ReplyRow.version_id, ReplyRow.origin).where(
                ReplyRow.personality_id == personality_id
            )
        )
    }
    for vote in weigh_votes(session, personality_id, settings):
        author_id, version_id, origin = replies[vote.reply_id]
        is_new = vote.weight < 1.0
        # An arena asks everyone, so silence means nothing there.
        is_silent = vote.user_id not in talkers and origin is not Origin.ARENA
        holds = held.get((vote.reply_id, vote.user_id), ())
        if (is_new or is_silent) and not _is_counted(vote, holds):
            yield SuspectVote(
                vote.reply_id,
                vote.user_id,
                vote.vote,
                vote.voted_at,
                author_id,
                version_id,
                is_new,
                held_under=_rule_of(holds),
            )


def _is_counted(vote: StandingVote, holds: Iterable[_Held]) -> bool:
    """Return whether an admin counted this vote, not an opposite earlier one of the member."""
    return any(hold.status is QuarantineStatus.COUNTED and hold.vote == vote.vote for hold in holds)


def _rule_of(holds: Iterable[_Held]) -> QuarantineRule | None:
    return next((hold.rule for hold in holds if hold.status is not QuarantineStatus.COUNTED), None)


def quarantine_votes(session: Session, personality_id: int, burst: Burst) -> int | None:
    """Quarantine a burst, and return the id of its quarantine if that is new or grew.

    Votes of an open quarantine's burst are added to it. Votes that were withdrawn or quarantined by another process in
    the meantime are skipped.
    """
    # The lock keeps other processes from quarantining the same votes, and deletions from running at the same time.
    lock_personality(session, personality_id)
    reply_ids = {vote.reply_id for vote in burst.votes}
    standing = {reply_id: votes_on(session, reply_id) for reply_id in reply_ids}
    held = _read_held(session, QuarantinedVoteRow.reply_id.in_(reply_ids))
    loose = [
        vote
        for vote in burst.votes
        if standing[vote.reply_id].get(vote.user_id) is vote.vote
        and _rule_of(held.get((vote.reply_id, vote.user_id), ())) is None
    ]
    return _add(session, personality_id, burst, loose, held) if loose else None


def hold_back_bursts(database: Database, personality_id: int, settings: VoteSettings) -> bool:
    """Quarantine what `new_bursts` finds, and return whether there was any; blocks, so call it in a thread."""
    # Reads without a lock, then one transaction per burst, so that new votes do not have to wait long.
    with database.snapshot() as session:
        bursts = new_bursts(session, personality_id, settings)
    held = [database.call(quarantine_votes, personality_id, burst) for burst in bursts]
    return any(held)


def _add(
    session: Session,
    personality_id: int,
    burst: Burst,
    loose: Sequence[SuspectVote],
    held: Mapping[VoteKey, Sequence[_Held]],
) -> int:
    """Add the votes to the burst's open quarantine, or to a new one, and return its id."""
    times = [vote.voted_at for vote in loose]
    row = _open_quarantine(session, burst, held)
    if row is None:
        row = QuarantineRow(
            personality_id=personality_id,
            rule=burst.rule,
            subject_id=burst.subject_id,
            vote=burst.vote.value,
            first_vote_at=min(times),
            last_vote_at=max(times),
        )
        session.add(row)
    row.first_vote_at = min(row.first_vote_at, *times)
    row.last_vote_at = max(row.last_vote_at, *times)
    session.flush()
    session.add_all(
        QuarantinedVoteRow(quarantine_id=row.id, reply_id=vote.reply_id, user_id=vote.user_id) for vote in loose
    )
    session.flush()
    return row.id


def _open_quarantine(session: Session, burst: Burst, held: Mapping[VoteKey, Sequence[_Held]]) -> QuarantineRow | None:
    """Return the open quarantine that already has some of the burst's votes; the oldest of several."""
    ids = [
        hold.quarantine_id
        for vote in burst.votes
        for hold in held.get((vote.reply_id, vote.user_id), ())
        if hold.status is QuarantineStatus.OPEN and (hold.rule, hold.vote) == (burst.rule, burst.vote)
    ]
    return session.get_one(QuarantineRow, min(ids)) if ids else None


def _read_held(session: Session, which: ColumnElement[bool]) -> dict[VoteKey, list[_Held]]:
    rows = session.execute(
        select(
            QuarantinedVoteRow.reply_id,
            QuarantinedVoteRow.user_id,
            QuarantineRow.id,
            QuarantineRow.rule,
            QuarantineRow.status,
            QuarantineRow.vote,
        )
        .join(QuarantineRow)
        .where(which)
    )
    held: dict[VoteKey, list[_Held]] = defaultdict(list)
    for reply_id, user_id, id_, rule, status, vote in rows:
        held[reply_id, user_id].append(_Held(id_, rule, status, vote))
    return held
