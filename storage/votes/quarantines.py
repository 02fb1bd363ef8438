"""Quarantines: bursts of votes that count for nothing until an admin decides, and the record of the decisions."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import ColumnElement, func, select, update
from sqlalchemy.orm import Session

from storage.database.columns import utc_now
from storage.database.database import Database
from storage.database.enums import NOBODY, Origin, QuarantineRule, QuarantineStatus
from storage.database.rows import changed_rows, from_row
from storage.database.tables import MemberRow, QuarantinedVoteRow, QuarantineRow, ReplyRow, VersionRow
from storage.errors import QuarantineConflict
from storage.members.memberships import read_talkers
from storage.personalities.personalities import lock_personalities, lock_personality, read_personality
from storage.settings.sections import VoteSettings
from storage.votes.bursts import Burst, SuspectVote, find_bursts
from storage.votes.votes import Vote, votes_on
from storage.votes.weights import StandingVote, account_creation, weigh_votes

VoteKey = tuple[int, int]
"""Reply id and user id: a member has one vote on a reply."""
DECISIONS = {QuarantineStatus.COUNTED: "counted", QuarantineStatus.EXCLUDED: "left out"}


@dataclass(frozen=True)
class Quarantine:
    """A burst of votes and what became of it; `votes` were held back, of which `standing` still stand."""

    id: int
    rule: QuarantineRule
    subject_id: int
    subject: str
    """What was voted on, in words; of members it names none."""
    vote: Vote
    votes: int
    standing: int
    voters: tuple[int, ...]
    first_vote_at: datetime
    last_vote_at: datetime
    status: QuarantineStatus
    opened_at: datetime
    decided_by: str | None
    decided_at: datetime | None
    reason: str


@dataclass(frozen=True)
class Voter:
    """What speaks for and against the votes of one member of a burst; `joined_at` is None where it is not known."""

    user_id: int
    account_created_at: datetime
    joined_at: datetime | None
    has_talked: bool


class _Held(NamedTuple):
    """A place of a vote in a quarantine."""

    quarantine_id: int
    rule: QuarantineRule
    status: QuarantineStatus
    vote: str


# Finding and holding back


def new_bursts(session: Session, personality_id: int, settings: VoteSettings) -> list[Burst]:
    """Return the bursts that hold a vote which no admin has seen yet, for `quarantine_votes`; reads only.

    Votes that an admin counted are trusted from then on. Those that were left out remain evidence, so that who joins
    such a burst late is held back too.
    """
    if settings.burst_votes == 0:
        return []
    held = _read_held(session, QuarantineRow.personality_id == personality_id)
    suspects = list(_suspects(session, personality_id, settings, held))
    return [burst for burst in find_bursts(suspects, settings) if any(v.held_under is None for v in burst.votes)]


def _suspects(
    session: Session, personality_id: int, settings: VoteSettings, held: Mapping[VoteKey, Sequence[_Held]]
) -> Iterator[SuspectVote]:
    """Yield the votes of new or silent accounts, but for those that an admin counted."""
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
        # An arena asks everyone, so silence says nothing there.
        is_silent = vote.user_id not in talkers and origin is not Origin.ARENA
        places = held.get((vote.reply_id, vote.user_id), ())
        if (is_new or is_silent) and not _is_counted(vote, places):
            yield SuspectVote(
                vote.reply_id,
                vote.user_id,
                vote.vote,
                vote.voted_at,
                author_id,
                version_id,
                is_new,
                held_under=_rule_of(places),
            )


def _is_counted(vote: StandingVote, places: Iterable[_Held]) -> bool:
    """Return whether an admin counted the vote: this one, not the opposite one that the member gave before."""
    return any(place.status is QuarantineStatus.COUNTED and place.vote == vote.vote for place in places)


def _rule_of(places: Iterable[_Held]) -> QuarantineRule | None:
    return next((place.rule for place in places if place.status is not QuarantineStatus.COUNTED), None)


def quarantine_votes(session: Session, personality_id: int, burst: Burst) -> int | None:
    """Write down a burst that was found, and return the id of its quarantine if that is new or grew.

    Votes that join an open quarantine are added to it. Passed over are those that went since they were found, or that
    another process has held back meanwhile.
    """
    # Nobody else holds the same votes back now, and nobody's data is deleted and comes back through this.
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
    """Hold back what `new_bursts` finds, and return whether that was anything; call it on a thread of its own."""
    # Read without a lock, then one transaction for each: votes that members give meanwhile wait for none of it long.
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
    """Add the votes to the open quarantine of the burst, or to a new one, and return its id."""
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
    """Return the open quarantine that holds some of the burst's votes already, the oldest of several."""
    ids = [
        place.quarantine_id
        for vote in burst.votes
        for place in held.get((vote.reply_id, vote.user_id), ())
        if place.status is QuarantineStatus.OPEN and (place.rule, place.vote) == (burst.rule, burst.vote)
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


# Deciding


def decide_quarantines(
    session: Session,
    quarantine_ids: Collection[int],
    status: QuarantineStatus,
    *,
    votes: int,
    by: str,
    reason: str,
) -> list[Quarantine]:
    """Decide about these quarantines as `decide_quarantine` does, which held so many `votes` when they were looked at.

    Raises QuarantineConflict where more have joined since, which nobody has seen, and for what it raises.
    """
    lock_personalities(session)  # so that none joins now
    held = select(func.count()).where(QuarantinedVoteRow.quarantine_id.in_(quarantine_ids))
    if (session.scalar(held) or 0) > votes:
        raise QuarantineConflict("more votes were quarantined in the meantime: nothing was changed, please check again")
    return [decide_quarantine(session, id_, status, by, reason) for id_ in quarantine_ids]


def decide_quarantine(
    session: Session, quarantine_id: int, status: QuarantineStatus, by: str, reason: str
) -> Quarantine:
    """Count the votes of an open quarantine, or leave them out; who, when and why is kept.

    Raises QuarantineConflict, in a sentence, where somebody decided it already or there is no such quarantine.
    """
    if status is QuarantineStatus.OPEN:
        raise ValueError("a decision must count the votes or exclude them")
    decided = session.execute(
        update(QuarantineRow)
        .where(QuarantineRow.id == quarantine_id, QuarantineRow.status == QuarantineStatus.OPEN)
        .values(status=status, decided_by=by, decided_at=utc_now(), reason=reason)
    )
    row = session.get(QuarantineRow, quarantine_id, populate_existing=True)
    if row is None:
        raise QuarantineConflict("these votes have been deleted: list the quarantined votes again")
    if not changed_rows(decided):
        raise QuarantineConflict(
            f"these votes were already {DECISIONS[row.status]} by {row.decided_by}: nothing was changed"
        )
    return _quarantine(session, row)


# Reading


def open_quarantines(session: Session, personality_ids: Collection[int]) -> list[Quarantine]:
    """Return the quarantines that wait for a decision, oldest first; those whose votes are all gone do not."""
    found = _read(
        session, QuarantineRow.personality_id.in_(personality_ids), QuarantineRow.status == QuarantineStatus.OPEN
    )
    return [quarantine for quarantine in found if quarantine.standing]


def recent_decisions(session: Session, personality_ids: Collection[int], limit: int = 10) -> list[Quarantine]:
    """Return the quarantines that were decided on, the latest decision first."""
    rows = session.scalars(
        select(QuarantineRow)
        .where(QuarantineRow.personality_id.in_(personality_ids), QuarantineRow.decided_at.is_not(None))
        .order_by(QuarantineRow.decided_at.desc(), QuarantineRow.id.desc())
        .limit(limit)
    ).all()
    return [_quarantine(session, row) for row in rows]


def voters_in(session: Session, quarantine: Quarantine) -> list[Voter]:
    """Return what is known of each member whose votes are in the quarantine, the newest accounts first."""
    joined_at = _joined_at(session, quarantine)
    talkers = read_talkers(session)
    voters = [Voter(u, account_creation(u), joined_at.get(u), u in talkers) for u in quarantine.voters]
    return sorted(voters, key=lambda voter: (voter.account_created_at, voter.user_id), reverse=True)


def _joined_at(session: Session, quarantine: Quarantine) -> dict[int, datetime]:
    rows = session.execute(
        select(QuarantinedVoteRow.user_id, func.max(MemberRow.joined_at))
        .join(ReplyRow, ReplyRow.id == QuarantinedVoteRow.reply_id)
        .join(
            MemberRow,
            (MemberRow.guild_id == ReplyRow.guild_id) & (MemberRow.user_id == QuarantinedVoteRow.user_id),
        )
        .where(QuarantinedVoteRow.quarantine_id == quarantine.id)
        .group_by(QuarantinedVoteRow.user_id)
    )
    return dict(rows.all())


def _read(session: Session, *which: ColumnElement[bool]) -> list[Quarantine]:
    rows = session.scalars(select(QuarantineRow).where(*which).order_by(QuarantineRow.id)).all()
    return [_quarantine(session, row) for row in rows]


def _quarantine(session: Session, row: QuarantineRow) -> Quarantine:
    votes = session.execute(
        select(QuarantinedVoteRow.reply_id, QuarantinedVoteRow.user_id).where(
            QuarantinedVoteRow.quarantine_id == row.id
        )
    ).all()
    said = Vote(row.vote)
    now = {reply_id: votes_on(session, reply_id) for reply_id in {reply_id for reply_id, _ in votes}}
    return from_row(
        Quarantine,
        row,
        subject=_subject(session, row),
        vote=said,
        votes=len(votes),
        standing=sum(now[reply_id].get(user_id) is said for reply_id, user_id in votes),
        voters=tuple(sorted({user_id for _, user_id in votes})),
    )


def _subject(session: Session, row: QuarantineRow) -> str:
    if row.rule is QuarantineRule.REPLY:
        return "one answer"
    if row.rule is QuarantineRule.AUTHOR:
        return "the answers to somebody who deleted their data" if row.subject_id == NOBODY else "one member's answers"
    version, whose = session.get(VersionRow, row.subject_id), read_personality(session, row.personality_id)
    answers = f"the answers of v{version.number}" if version else "the answers of the base model"
    return answers if whose.is_default else f"{answers} as {whose.name}"
