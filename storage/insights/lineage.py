"""Lineage: the votes that made a version, from the manifests of its line of parents."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Hashable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Select, select, union
from sqlalchemy.orm import Session

from storage.conversations.replies import message_links
from storage.database.enums import PairSource, Split
from storage.database.rows import from_row
from storage.database.tables import (
    ArenaAnswerRow,
    ComparisonRow,
    CorrectionRow,
    QuarantinedVoteRow,
    ReplyRow,
    RoundPairRow,
    RoundRow,
    RoundVoterRow,
    VoteEventRow,
)
from storage.members import read_pseudonyms
from storage.releases.versions import Version, line_of_parents, name_of, version_named
from storage.votes.votes import Tally, Vote, tally
from storage.votes.weights import VoteHistory, beginning, read_histories, read_quarantine_periods

WRITTEN = (PairSource.CORRECTION, PairSource.CORRECTED_SAMPLE)
"""Sources whose chosen side is a correction."""


@dataclass(frozen=True)
class SourceVote:
    """A vote on an answer, as it was when a round began."""

    user_id: int
    vote: Vote
    quarantined: bool
    """True if it was quarantined, so that it did not count."""
    unchanged: bool


@dataclass(frozen=True)
class SourceAnswer:
    """One side of a pair; a sample has no message, so no link."""

    reply_id: int
    link: str | None
    votes: tuple[SourceVote, ...]
    in_arena: bool = False
    """True if its 👍 are choices among an arena's answers."""


@dataclass(frozen=True)
class SourceCorrection:
    correction_id: int
    author_id: int


@dataclass(frozen=True)
class SourcePair:
    """A line of a round's manifest; a side is None if it is a correction, is empty or was deleted since."""

    source: PairSource
    split: Split
    weight: float
    chosen: SourceAnswer | None
    correction: SourceCorrection | None
    rejected: SourceAnswer | None
    was_deleted: bool
    """True if a side was deleted since."""
    choosers: tuple[int, ...] = ()
    """Users who chose the better answer over the worse one before the round, in a blind comparison."""


@dataclass(frozen=True)
class SourceVoter:
    """A member's part in a round: what counted of theirs, and their share and influence if recorded."""

    user_id: int
    votes: Tally
    choices: int
    corrections: int
    share: float | None
    influence: float | None


@dataclass(frozen=True)
class SourceRound:
    """The round that made `version` from `parent`."""

    round_id: int
    version: str
    parent: str
    began_at: datetime
    requested_by: str
    manifest_digest: str | None
    pairs: tuple[SourcePair, ...]
    voters: tuple[SourceVoter, ...]
    """Largest share first."""


@dataclass(frozen=True)
class Lineage:
    """Everything that a version was trained on: its own round first, then its parents' rounds."""

    version: str
    chain: tuple[str, ...]
    """The version, its parents and, last, the base."""
    trained_on_deleted_data: bool
    rounds: tuple[SourceRound, ...]
    votes: Tally
    """Votes that counted, on the answers in the rounds' pairs; each once."""
    choices: int
    """Choices of the pairs' better answers that counted; each once."""
    corrections: int
    people: int
    """Number of people with a part in one of the rounds; the taste that ranks answers has more."""


def lineage_of(session: Session, personality_id: int, name: str) -> Lineage | None:
    """Return the lineage of the version with this name, None for the base; raises VersionNotFound."""
    version = version_named(session, personality_id, name)
    return read_lineage(session, version.id) if version else None


def read_lineage(session: Session, version_id: int) -> Lineage:
    """Return the origins of the version: the manifests of its line of parents, and the votes when each round began.

    Raises VersionNotFound.
    """
    chain = line_of_parents(session, version_id)
    made = {version.round_id: version for version in chain if version.round_id is not None}
    rows = {row.id: row for row in session.scalars(select(RoundRow).where(RoundRow.id.in_(made)))}
    reader = _ManifestReader(session, rows.values())
    rounds = tuple(
        reader.read(rows[version.round_id], version, parent)
        for version, parent in zip(chain, [*chain[1:], None], strict=True)
        if version.round_id in rows
    )
    # A changed vote is as the newest round saw it.
    said = [_said_in(round_.pairs) for round_ in reversed(rounds)]
    votes: dict[tuple[int, int], Vote] = {key: vote for one in said for key, vote in one.votes.items()}
    return Lineage(
        version=chain[0].name,
        chain=(*(version.name for version in chain), name_of(None)),
        trained_on_deleted_data=chain[0].trained_on_deleted_data,
        rounds=rounds,
        votes=tally(votes.values()),
        choices=len(set[Hashable]().union(*(one.choices for one in said))),
        corrections=len(set[Hashable]().union(*(one.corrections for one in said))),
        people=len({voter.user_id for round_ in rounds for voter in round_.voters}),
    )


class _ManifestReader:
    """Reads the manifests of several rounds with one query per kind of row."""

    def __init__(self, session: Session, rounds: Iterable[RoundRow]) -> None:
        ids = [row.id for row in rounds]
        pairs = select(RoundPairRow).where(RoundPairRow.round_id.in_(ids))
        replies = _replies_of(ids)
        self._pairs: dict[int, list[RoundPairRow]] = defaultdict(list)
        for pair in session.scalars(pairs.order_by(RoundPairRow.position)):
            self._pairs[pair.round_id].append(pair)
        written = pairs.with_only_columns(RoundPairRow.correction_id)
        authors = select(CorrectionRow.id, CorrectionRow.author_id).where(CorrectionRow.id.in_(written))
        self._corrections: dict[int | None, SourceCorrection] = {
            id_: SourceCorrection(id_, author) for id_, author in session.execute(authors)
        }
        self._links = message_links(session, replies)
        arenas = select(ArenaAnswerRow.reply_id).where(ArenaAnswerRow.reply_id.in_(replies))
        self._in_arenas = set(session.scalars(arenas))
        compared = select(ComparisonRow).where(
            ComparisonRow.first_id.in_(replies),
            ComparisonRow.second_id.in_(replies),
        )
        self._choices: dict[frozenset[int | None], list[ComparisonRow]] = defaultdict(list)
        for choice in session.scalars(compared.order_by(ComparisonRow.user_id)):
            self._choices[frozenset([choice.first_id, choice.second_id])].append(choice)
        self._quarantines = read_quarantine_periods(session, QuarantinedVoteRow.reply_id.in_(replies))
        self._histories: dict[int, dict[int, VoteHistory]] = defaultdict(dict)
        for (reply_id, user_id), history in read_histories(session, VoteEventRow.reply_id.in_(replies)).items():
            self._histories[reply_id][user_id] = history
        self._voters: dict[int, dict[int, RoundVoterRow]] = defaultdict(dict)
        noted = session.scalars(select(RoundVoterRow).where(RoundVoterRow.round_id.in_(ids))).all()
        authors_and_voters = {correction.author_id for correction in self._corrections.values()}.union(
            *self._histories.values()
        )
        choosers = {choice.user_id for choices in self._choices.values() for choice in choices}
        users = _users_of(session, {voter.pseudonym for voter in noted}, authors_and_voters | choosers)
        for voter in noted:
            if voter.pseudonym in users:
                self._voters[voter.round_id][users[voter.pseudonym]] = voter

    def read(self, round_: RoundRow, version: Version, parent: Version | None) -> SourceRound:
        rows = self._pairs[round_.id]
        ids = {id_ for row in rows for id_ in (row.chosen_reply_id, row.rejected_reply_id) if id_ is not None}
        answers: dict[int | None, SourceAnswer] = {id_: self._answer(id_, round_) for id_ in ids}
        pairs = tuple(self._pair(row, answers, beginning(round_)) for row in rows)
        return SourceRound(
            round_id=round_.id,
            version=version.name,
            parent=name_of(parent),
            began_at=beginning(round_),
            requested_by=round_.requested_by,
            manifest_digest=round_.manifest_digest,
            pairs=pairs,
            voters=_voters(pairs, self._voters[round_.id]),
        )

    def _answer(self, reply_id: int, round_: RoundRow) -> SourceAnswer:
        votes = []
        for user_id, history in self._histories[reply_id].items():
            vote = history.before(beginning(round_))
            if vote is not None:
                quarantined = any(q.covers(round_) for q in self._quarantines.get((reply_id, user_id), ()))
                votes.append(SourceVote(user_id, vote, quarantined, unchanged=history.now is vote))
        return SourceAnswer(reply_id, self._links.get(reply_id), tuple(votes), reply_id in self._in_arenas)

    def _pair(self, row: RoundPairRow, answers: Mapping[int | None, SourceAnswer], began_at: datetime) -> SourcePair:
        chosen_id = row.correction_id if row.source in WRITTEN else row.chosen_reply_id
        choices = self._choices.get(frozenset([row.chosen_reply_id, row.rejected_reply_id]), ())
        return from_row(
            SourcePair,
            row,
            chosen=answers.get(row.chosen_reply_id),
            correction=self._corrections.get(row.correction_id),
            rejected=answers.get(row.rejected_reply_id),
            was_deleted=chosen_id is None or row.rejected_reply_id is None,
            choosers=tuple(
                choice.user_id
                for choice in choices
                if choice.better_id == row.chosen_reply_id and choice.created_at < began_at
            ),
        )


def _users_of(session: Session, pseudonyms: Collection[int], people: Collection[int]) -> dict[int, int]:
    """Return {pseudonym: user id} of these people, or of all voters and authors if a pseudonym is not among them."""
    name = read_pseudonyms(session).of
    users: dict[int, int] = {name(user_id): user_id for user_id in people}
    if any(pseudonym not in users for pseudonym in pseudonyms):
        # A recorded voter may be behind none of the pairs: they pressed 🔁 alone, or their votes only prevented pairs.
        everybody = union(
            select(VoteEventRow.user_id),
            select(ComparisonRow.user_id),
            select(CorrectionRow.author_id),
            select(ReplyRow.author_id),
        )
        users |= {name(user_id): user_id for user_id in session.scalars(everybody)}
    return users


def _replies_of(round_ids: Collection[int]) -> Select[Any]:
    """Select the ids of the replies in these rounds' manifests."""
    sides = [
        select(side).where(RoundPairRow.round_id.in_(round_ids), side.is_not(None))
        for side in (RoundPairRow.chosen_reply_id, RoundPairRow.rejected_reply_id)
    ]
    return select(union(*sides).cte("sides").c[0])


class _Said(NamedTuple):
    """The feedback that counted behind some pairs; each item once, though an answer can be in several pairs."""

    votes: dict[tuple[int, int], Vote]
    """Votes by (reply id, user id)."""
    choices: set[tuple[frozenset[int], int]]
    """(answers, user id) of each choice."""
    corrections: set[tuple[int, int]]
    """(correction id, author id) of each correction."""


def _said_in(pairs: Iterable[SourcePair]) -> _Said:
    said = _Said({}, set(), set())
    for pair in pairs:
        for side in (pair.chosen, pair.rejected):
            for vote in side.votes if side else ():
                if vote.quarantined:
                    continue
                if side and not side.in_arena:
                    said.votes[side.reply_id, vote.user_id] = vote.vote
                elif side and vote.vote is Vote.UP:
                    said.choices.add((frozenset([side.reply_id]), vote.user_id))
        both = frozenset(side.reply_id for side in (pair.chosen, pair.rejected) if side)
        said.choices.update((both, user_id) for user_id in pair.choosers)
        if pair.correction is not None:
            said.corrections.add((pair.correction.correction_id, pair.correction.author_id))
    return said


def _voters(pairs: Iterable[SourcePair], noted: Mapping[int, RoundVoterRow]) -> tuple[SourceVoter, ...]:
    """Return everybody with a part in the round, the largest share first."""
    said = _said_in(pairs)
    votes: dict[int, list[Vote]] = defaultdict(list)
    for (_, user_id), vote in said.votes.items():
        votes[user_id].append(vote)
    chosen = Counter(user_id for _, user_id in said.choices)
    written = Counter(author for _, author in said.corrections)
    voters = [
        SourceVoter(
            user_id=user_id,
            votes=tally(votes.get(user_id, [])),
            choices=chosen[user_id],
            corrections=written[user_id],
            share=noted[user_id].share if user_id in noted else None,
            influence=noted[user_id].influence if user_id in noted else None,
        )
        for user_id in {*votes, *chosen, *written, *noted}
    ]
    return tuple(sorted(voters, key=lambda v: (-(v.share or 0.0), -(v.votes.total + v.choices), v.user_id)))
