"""Admins' decisions on quarantined votes: count them, or leave them out."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from storage.database.columns import utc_now
from storage.database.enums import NOBODY, QuarantineRule, QuarantineStatus
from storage.database.rows import changed_rows, count_rows, from_row
from storage.database.tables import MemberRow, QuarantinedVoteRow, QuarantineRow, ReplyRow, VersionRow
from storage.errors import QuarantineConflict
from storage.members import read_talkers
from storage.personalities.personalities import lock_personalities, read_personality
from storage.sentences import Sentence
from storage.votes.votes import Vote, votes_on
from storage.votes.weights import account_creation
from storage.wording import gettext_noop, version_name

VOTES_GONE = gettext_noop("these votes no longer exist: look again")
DECIDED = {
    QuarantineStatus.COUNTED: gettext_noop("these votes were already counted by {admin}: nothing was changed"),
    QuarantineStatus.EXCLUDED: gettext_noop("these votes were already left out by {admin}: nothing was changed"),
}


@dataclass(frozen=True)
class Quarantine:
    """A burst of votes, and the decision on it."""

    id: int
    rule: QuarantineRule
    subject_id: int
    subject: Sentence
    """The subject in words, without names of members."""
    vote: Vote
    votes: int
    """Number of votes in quarantine, withdrawn ones included."""
    remaining: int
    """Number of votes that were not withdrawn."""
    voters: tuple[int, ...]
    first_vote_at: datetime
    last_vote_at: datetime
    status: QuarantineStatus
    decided_by: str | None
    decided_at: datetime | None
    reason: str


@dataclass(frozen=True)
class Voter:
    """Facts about a member who voted in a burst."""

    user_id: int
    account_created_at: datetime
    joined_at: datetime | None
    """The time when they joined the server; None if unknown."""
    has_talked: bool


def decide_quarantines(
    session: Session,
    quarantine_ids: Collection[int],
    status: QuarantineStatus,
    *,
    votes: int,
    by: str,
    reason: str,
    personality_ids: Collection[int],
) -> list[Quarantine]:
    """Decide each quarantine with `decide_quarantine`; `votes` is the number of votes that the admin saw in them.

    Raises QuarantineConflict if votes have been added since, if one is of another personality, and as
    `decide_quarantine` does.
    """
    lock_personalities(session)  # so that no vote is added now
    theirs = QuarantineRow.id.in_(quarantine_ids), QuarantineRow.personality_id.in_(personality_ids)
    if count_rows(session, select(QuarantineRow).where(*theirs)) < len(set(quarantine_ids)):
        raise QuarantineConflict(VOTES_GONE)
    quarantined = select(QuarantinedVoteRow).where(QuarantinedVoteRow.quarantine_id.in_(quarantine_ids))
    if count_rows(session, quarantined) > votes:
        raise QuarantineConflict("more votes were added since you looked: nothing was changed, look again")
    return [decide_quarantine(session, id_, status, by, reason) for id_ in quarantine_ids]


def decide_quarantine(
    session: Session, quarantine_id: int, status: QuarantineStatus, by: str, reason: str
) -> Quarantine:
    """Count the votes of an open quarantine, or leave them out; store the admin, the time and the reason.

    Raises QuarantineConflict if it was already decided, or does not exist.
    """
    if status is QuarantineStatus.OPEN:
        raise ValueError("a decision must count votes or leave them out")
    decided = session.execute(
        update(QuarantineRow)
        .where(QuarantineRow.id == quarantine_id, QuarantineRow.status == QuarantineStatus.OPEN)
        .values(status=status, decided_by=by, decided_at=utc_now(), reason=reason)
    )
    row = session.get(QuarantineRow, quarantine_id, populate_existing=True)
    if row is None:
        raise QuarantineConflict(VOTES_GONE)
    if not changed_rows(decided):
        raise QuarantineConflict(DECIDED[row.status], admin=row.decided_by)
    return _quarantine(session, row)


def open_quarantines(session: Session, personality_ids: Collection[int]) -> list[Quarantine]:
    """Return the quarantines that wait for a decision, oldest first, without those whose votes were all withdrawn."""
    waiting = QuarantineRow.personality_id.in_(personality_ids), QuarantineRow.status == QuarantineStatus.OPEN
    rows = session.scalars(select(QuarantineRow).where(*waiting).order_by(QuarantineRow.id)).all()
    found = [_quarantine(session, row) for row in rows]
    return [quarantine for quarantine in found if quarantine.remaining]


def recent_decisions(session: Session, personality_ids: Collection[int], limit: int = 10) -> list[Quarantine]:
    """Return the decided quarantines, latest decision first."""
    rows = session.scalars(
        select(QuarantineRow)
        .where(QuarantineRow.personality_id.in_(personality_ids), QuarantineRow.decided_at.is_not(None))
        .order_by(QuarantineRow.decided_at.desc(), QuarantineRow.id.desc())
        .limit(limit)
    ).all()
    return [_quarantine(session, row) for row in rows]


def voters_in(session: Session, quarantine: Quarantine, guild_ids: Collection[int] | None = None) -> list[Voter]:
    """Return the facts about each member with votes in the quarantine, newest accounts first.

    With `guild_ids`, only about those who voted on answers in these servers.
    """
    joined_at = _joined_at(session, quarantine, guild_ids)
    talkers = read_talkers(session)
    known = quarantine.voters if guild_ids is None else _voters_in_servers(session, quarantine, guild_ids)
    voters = [Voter(u, account_creation(u), joined_at.get(u), u in talkers) for u in known]
    return sorted(voters, key=lambda voter: (voter.account_created_at, voter.user_id), reverse=True)


def _voters_in_servers(session: Session, quarantine: Quarantine, guild_ids: Collection[int]) -> list[int]:
    voters = (
        select(QuarantinedVoteRow.user_id)
        .join(ReplyRow, ReplyRow.id == QuarantinedVoteRow.reply_id)
        .where(QuarantinedVoteRow.quarantine_id == quarantine.id, ReplyRow.guild_id.in_(guild_ids))
    )
    return list(session.scalars(voters.distinct()))


def _joined_at(session: Session, quarantine: Quarantine, guild_ids: Collection[int] | None) -> dict[int, datetime]:
    """Return the time when each voter joined the newest of the servers that they voted in, or of these servers."""
    joined = (
        select(QuarantinedVoteRow.user_id, func.max(MemberRow.joined_at))
        .join(ReplyRow, ReplyRow.id == QuarantinedVoteRow.reply_id)
        .join(
            MemberRow,
            (MemberRow.guild_id == ReplyRow.guild_id) & (MemberRow.user_id == QuarantinedVoteRow.user_id),
        )
        .where(QuarantinedVoteRow.quarantine_id == quarantine.id)
        .group_by(QuarantinedVoteRow.user_id)
    )
    if guild_ids is not None:
        joined = joined.where(ReplyRow.guild_id.in_(guild_ids))
    return dict(session.execute(joined).all())


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
        remaining=sum(now[reply_id].get(user_id) is said for reply_id, user_id in votes),
        voters=tuple(sorted({user_id for _, user_id in votes})),
    )


def _subject(session: Session, row: QuarantineRow) -> Sentence:
    if row.rule is QuarantineRule.REPLY:
        return Sentence("one answer")
    if row.rule is QuarantineRule.AUTHOR:
        deleted = row.subject_id == NOBODY
        return Sentence("answers to a member whose data was deleted") if deleted else Sentence("answers to one member")
    version, whose = session.get(VersionRow, row.subject_id), read_personality(session, row.personality_id)
    name = version_name(version.number if version else None)
    if whose.is_default:
        return Sentence("answers of {version}", version=name)
    return Sentence("answers of {version} as {personality}", version=name, personality=whose.name)
