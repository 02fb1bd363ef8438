"""Finds bursts, many equal votes in a short time by accounts that are new or never talk, and quarantines them."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session

from storage.database.database import Database
from storage.database.enums import ASKED, NOBODY, QuarantineRule, QuarantineStatus
from storage.database.tables import QuarantinedVoteRow, QuarantineRow, ReplyRow
from storage.members import read_talkers
from storage.personalities.personalities import lock_personality
from storage.settings.sections import VoteSettings
from storage.votes.votes import Vote, votes_on
from storage.votes.weights import weigh_votes

NARROWEST_FIRST = (QuarantineRule.REPLY, QuarantineRule.AUTHOR, QuarantineRule.VERSION)
VERSION_FACTOR = 2
"""A burst on a whole version needs this many times as many accounts, because it has many answers."""
VoteKey = tuple[int, int]
"""Reply id and user id; a member has one vote per reply."""


@dataclass(frozen=True)
class SuspectVote:
    """A vote by an account that was new at that time (`is_new`), or that never talked with the bot."""

    reply_id: int
    user_id: int
    vote: Vote
    voted_at: datetime
    author_id: int
    """The member whom the reply answers."""
    version_id: int
    """The answering version's id; 0 is the base model."""
    is_new: bool
    quarantined_under: QuarantineRule | None = None
    """The rule of the vote's quarantine, or None: only under that rule is it evidence against other votes."""


@dataclass(frozen=True)
class Burst:
    """Votes that belong together, oldest first."""

    rule: QuarantineRule
    subject_id: int
    vote: Vote
    votes: tuple[SuspectVote, ...]


class _VoteQuarantine(NamedTuple):
    id: int
    rule: QuarantineRule
    status: QuarantineStatus
    vote: str


QuarantinesByVote = Mapping[VoteKey, Sequence[_VoteQuarantine]]


def find_bursts(votes: Iterable[SuspectVote], settings: VoteSettings) -> list[Burst]:
    """Return the bursts: at least votes.burst_votes accounts that vote the same within an hour.

    Accounts are counted, not votes: one member who reads old answers and likes many of them is not a burst. The
    narrowest rule wins, so each vote is in at most one burst. Votes on a whole version often coincide by chance, so
    only new accounts count there, and `VERSION_FACTOR` times as many are needed.
    """
    if settings.burst_votes == 0:
        return []
    left = sorted(set(votes), key=lambda v: (v.voted_at, v.reply_id, v.user_id, v.vote))
    bursts: list[Burst] = []
    for rule in NARROWEST_FIRST:
        found = list(_bursts_under(rule, left, settings))
        taken = {vote for burst in found for vote in burst.votes}
        left = [vote for vote in left if vote not in taken]
        bursts += found
    return bursts


def _bursts_under(rule: QuarantineRule, votes: Sequence[SuspectVote], settings: VoteSettings) -> Iterator[Burst]:
    same: dict[tuple[int, Vote], list[SuspectVote]] = defaultdict(list)
    for vote in votes:
        subject_id = _subject(rule, vote)
        if subject_id is not None:
            same[subject_id, vote.vote].append(vote)
    accounts = settings.burst_votes * (VERSION_FACTOR if rule is QuarantineRule.VERSION else 1)
    for (subject_id, said), of_subject in same.items():
        for run in _runs(of_subject, accounts, settings.burst_minutes * 60.0):
            yield Burst(rule, subject_id, said, tuple(run))


def _subject(rule: QuarantineRule, vote: SuspectVote) -> int | None:
    """Return the id that the vote shares with others under the rule, or None if the rule does not apply to it."""
    if vote.quarantined_under not in (None, rule):
        return None
    if rule is QuarantineRule.REPLY:
        return vote.reply_id
    if rule is QuarantineRule.AUTHOR:
        return None if vote.author_id == NOBODY else vote.author_id
    return vote.version_id if vote.is_new else None


def _runs(votes: Sequence[SuspectVote], accounts: int, within_s: float) -> list[Sequence[SuspectVote]]:
    """Return runs of the time-sorted votes in which `accounts` users voted within the time; overlaps are joined."""
    edges: list[list[int]] = []
    voters: Counter[int] = Counter()
    start = 0
    for end, vote in enumerate(votes):
        voters[vote.user_id] += 1
        while (vote.voted_at - votes[start].voted_at).total_seconds() > within_s:
            voters -= Counter([votes[start].user_id])  # drops users at 0
            start += 1
        if len(voters) < accounts:
            continue
        if edges and start < edges[-1][1]:
            edges[-1][1] = end + 1
        else:
            edges.append([start, end + 1])
    return [votes[a:b] for a, b in edges]


def new_bursts(session: Session, personality_id: int, settings: VoteSettings) -> list[Burst]:
    """Return the bursts with a vote that no admin has seen yet, for `quarantine_votes`; reads only.

    Votes that an admin counted are trusted from then on. Votes that were left out still count as evidence, so that
    latecomers to such a burst are quarantined too.
    """
    if settings.burst_votes == 0:
        return []
    known = _read_quarantines(session, QuarantineRow.personality_id == personality_id)
    suspects = list(_suspects(session, personality_id, settings, known))
    return [burst for burst in find_bursts(suspects, settings) if any(v.quarantined_under is None for v in burst.votes)]


def _suspects(
    session: Session, personality_id: int, settings: VoteSettings, known: QuarantinesByVote
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
        # Where people are asked to judge, their silence means nothing.
        is_silent = vote.user_id not in talkers and origin not in ASKED
        if not (is_new or is_silent):
            continue
        quarantines = known.get((vote.reply_id, vote.user_id), ())
        # This vote is trusted if an admin counted it, not an earlier opposite one of the member.
        is_trusted = any(q.status is QuarantineStatus.COUNTED and q.vote == vote.vote for q in quarantines)
        if not is_trusted:
            yield SuspectVote(
                vote.reply_id,
                vote.user_id,
                vote.vote,
                vote.voted_at,
                author_id,
                version_id,
                is_new,
                quarantined_under=_rule_of(quarantines),
            )


def _rule_of(quarantines: Iterable[_VoteQuarantine]) -> QuarantineRule | None:
    return next((q.rule for q in quarantines if q.status is not QuarantineStatus.COUNTED), None)


def quarantine_votes(session: Session, personality_id: int, burst: Burst) -> int | None:
    """Quarantine a burst, and return the id of its quarantine if that is new or grew.

    Votes of an open quarantine's burst are added to it. Votes that were withdrawn or quarantined by another process in
    the meantime are skipped.
    """
    # The lock keeps other processes from quarantining the same votes, and deletions from running at the same time.
    lock_personality(session, personality_id)
    reply_ids = {vote.reply_id for vote in burst.votes}
    current = {reply_id: votes_on(session, reply_id) for reply_id in reply_ids}
    known = _read_quarantines(session, QuarantinedVoteRow.reply_id.in_(reply_ids))
    loose = [
        vote
        for vote in burst.votes
        if current[vote.reply_id].get(vote.user_id) is vote.vote
        and _rule_of(known.get((vote.reply_id, vote.user_id), ())) is None
    ]
    return _add(session, personality_id, burst, loose, known) if loose else None


def quarantine_bursts(database: Database, personality_id: int, settings: VoteSettings) -> bool:
    """Quarantine the bursts that `new_bursts` finds; return whether there were any. It blocks: call it in a thread."""
    # Reads without a lock, then one transaction per burst, so that new votes do not have to wait long.
    with database.snapshot() as session:
        bursts = new_bursts(session, personality_id, settings)
    ids = [database.call(quarantine_votes, personality_id, burst) for burst in bursts]
    return any(ids)


def _add(
    session: Session,
    personality_id: int,
    burst: Burst,
    loose: Sequence[SuspectVote],
    known: QuarantinesByVote,
) -> int:
    """Add the votes to the burst's open quarantine, or to a new one, and return its id."""
    times = [vote.voted_at for vote in loose]
    row = _open_quarantine(session, burst, known)
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


def _open_quarantine(session: Session, burst: Burst, known: QuarantinesByVote) -> QuarantineRow | None:
    """Return the oldest open quarantine that shares votes with the burst, if there is one."""
    ids = [
        q.id
        for vote in burst.votes
        for q in known.get((vote.reply_id, vote.user_id), ())
        if q.status is QuarantineStatus.OPEN and (q.rule, q.vote) == (burst.rule, burst.vote)
    ]
    return session.get_one(QuarantineRow, min(ids)) if ids else None


def _read_quarantines(session: Session, which: ColumnElement[bool]) -> QuarantinesByVote:
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
    found: dict[VoteKey, list[_VoteQuarantine]] = defaultdict(list)
    for reply_id, user_id, id_, rule, status, vote in rows:
        found[reply_id, user_id].append(_VoteQuarantine(id_, rule, status, vote))
    return found
