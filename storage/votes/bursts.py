"""Bursts: many equal votes in a short time by accounts that are new or never talk with the bot. Pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from storage.database.enums import NOBODY, QuarantineRule
from storage.settings.sections import VoteSettings
from storage.votes.votes import Vote

NARROWEST_FIRST = (QuarantineRule.REPLY, QuarantineRule.AUTHOR, QuarantineRule.VERSION)
VERSION_FACTOR = 2
"""A burst on a whole version needs this many times as many accounts, because it has many answers."""


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
    """0 is the base model."""
    is_new: bool
    held_under: QuarantineRule | None = None
    """The rule of the vote's quarantine, if any: only under that rule is it evidence against other votes."""


@dataclass(frozen=True)
class Burst:
    """Votes that belong together, oldest first."""

    rule: QuarantineRule
    subject_id: int
    vote: Vote
    votes: tuple[SuspectVote, ...]


def find_bursts(votes: Iterable[SuspectVote], settings: VoteSettings) -> list[Burst]:
    """Return the bursts: at least votes.burst_votes accounts that vote the same within votes.burst_minutes.

    Accounts are counted, not votes: one member who reads old answers and likes many of them is not a burst. The
    narrowest rule wins, so each vote is in at most one burst. Votes on a whole version often coincide by chance, so
    there only new accounts count, and `VERSION_FACTOR` times as many are needed.
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
    if vote.held_under not in (None, rule):
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
            _take_one(voters, votes[start].user_id)
            start += 1
        if len(voters) < accounts:
            continue
        if edges and start < edges[-1][1]:
            edges[-1][1] = end + 1
        else:
            edges.append([start, end + 1])
    return [votes[a:b] for a, b in edges]


def _take_one(voters: Counter[int], user_id: int) -> None:
    voters[user_id] -= 1
    if not voters[user_id]:
        del voters[user_id]
