"""What people said about a personality's answers: thumbs, choices, and weaker signs. It reads no word of a member."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import select
from sqlalchemy.orm import Session, aliased

from storage.conversations.replies import FINISHED_WHOLE
from storage.database.enums import NOBODY, Origin
from storage.database.tables import ArenaAnswerRow, ComparisonRow, CorrectionRow, OptOutRow, ReplyRow
from storage.members import Pseudonym, Pseudonyms, read_pseudonyms
from storage.settings.sections import Settings
from storage.taste.voter_caps import cap_factors
from storage.votes.corrections import wrong_facts
from storage.votes.votes import Vote
from storage.votes.weights import CurrentVote, counted_votes, quarantined, weigh_by_account

NEWEST_ANSWERS = 10_000
"""Votes on older answers are not read: they say little about today's members."""
REPLACED_WEIGHT = 0.3
"""Weight of asking for another answer, as a dislike of the one before, by an account that counts in full."""


class Opinion(NamedTuple):
    """What one person thinks of one answer."""

    reply_id: int
    voter: Pseudonym
    liked: bool
    weight: float
    given_at: datetime


class Preference(NamedTuple):
    """What one person chose among the answers to one prompt; none is "about the same"."""

    reply_ids: tuple[int, ...]
    chosen: int | None
    voter: Pseudonym
    weight: float
    given_at: datetime

    @property
    def shares(self) -> list[float]:
        """Return what each answer got of the choice."""
        if self.chosen is None:
            return [1 / len(self.reply_ids)] * len(self.reply_ids)
        return [float(reply_id == self.chosen) for reply_id in self.reply_ids]


@dataclass(frozen=True)
class TasteEvidence:
    """Oldest first."""

    opinions: tuple[Opinion, ...]
    choices: tuple[Preference, ...]


def read_taste_evidence(session: Session, personality_id: int, settings: Settings) -> TasteEvidence:
    """Return what counts: no votes in quarantine, of wrong facts, or of people who opted out; nobody's too much."""
    if not settings.privacy.learn_from_reactions:
        return TasteEvidence((), ())
    pseudonyms = read_pseudonyms(session)
    silent = set(session.scalars(select(OptOutRow.user_id)))
    votes = list(counted_votes(session, personality_id, settings.votes, newest=NEWEST_ANSWERS))
    arenas = _arenas(session, personality_id)
    opinions = [_opinion(vote, pseudonyms) for vote in votes if vote.reply_id not in arenas]
    said = {(opinion.reply_id, opinion.voter) for opinion in opinions}
    # A vote that does not count must not come back as a suggestion.
    uncounted = quarantined(session, personality_id) | wrong_facts(session, personality_id)
    said |= {(reply_id, pseudonyms.of(user_id)) for reply_id, user_id in uncounted}
    weaker = [*_corrected(session, personality_id, settings), *_replaced(session, personality_id, settings)]
    for reply_id, user_id, weight, given_at in weaker:
        voter = pseudonyms.of(user_id)
        if user_id not in silent and (reply_id, voter) not in said:
            said.add((reply_id, voter))
            opinions.append(Opinion(reply_id, voter, False, weight, given_at))
    choices = [
        *_picks((vote for vote in votes if vote.reply_id in arenas), arenas, pseudonyms),
        *(
            choice
            for user_id, choice in _comparisons(session, personality_id, settings, pseudonyms)
            if user_id not in silent
        ),
    ]
    found = TasteEvidence(
        tuple(sorted(opinions, key=lambda one: (one.given_at, one.reply_id, one.voter))),
        tuple(sorted(choices, key=lambda one: (one.given_at, one.reply_ids, one.voter))),
    )
    return _capped(found, settings.votes.max_voter_share)


def _capped(evidence: TasteEvidence, max_share: float) -> TasteEvidence:
    """Return the evidence with the weights of those lowered who said much more than others."""
    totals: dict[Pseudonym, float] = defaultdict(float)
    for one in (*evidence.opinions, *evidence.choices):
        totals[one.voter] += one.weight
    if not (factors := cap_factors(totals, max_share)):
        return evidence
    return TasteEvidence(
        tuple(one._replace(weight=one.weight * factors.get(one.voter, 1.0)) for one in evidence.opinions),
        tuple(one._replace(weight=one.weight * factors.get(one.voter, 1.0)) for one in evidence.choices),
    )


def _opinion(vote: CurrentVote, pseudonyms: Pseudonyms) -> Opinion:
    return Opinion(vote.reply_id, pseudonyms.of(vote.user_id), vote.vote is Vote.UP, vote.weight, vote.voted_at)


def _arenas(session: Session, personality_id: int) -> dict[int, tuple[int, ...]]:
    """Return, for each answer in an arena, all answers of that arena."""
    answers: dict[int, list[int]] = defaultdict(list)
    rows = session.execute(
        select(ArenaAnswerRow.arena_id, ArenaAnswerRow.reply_id)
        .join(ReplyRow, ReplyRow.id == ArenaAnswerRow.reply_id)
        .where(ReplyRow.personality_id == personality_id)
        .order_by(ArenaAnswerRow.arena_id, ArenaAnswerRow.reply_id)
    )
    for arena_id, reply_id in rows:
        answers[arena_id].append(reply_id)
    return {reply_id: tuple(of_one) for of_one in answers.values() for reply_id in of_one}


def _picks(
    votes: Iterable[CurrentVote], arenas: Mapping[int, tuple[int, ...]], pseudonyms: Pseudonyms
) -> Iterator[Preference]:
    """Yield the picks: in an arena, a 👍 is the answer that its member chose among all."""
    for vote in votes:
        answers = arenas[vote.reply_id]
        if vote.vote is Vote.UP and len(answers) > 1:
            yield Preference(answers, vote.reply_id, pseudonyms.of(vote.user_id), vote.weight, vote.voted_at)


def _comparisons(
    session: Session, personality_id: int, settings: Settings, pseudonyms: Pseudonyms
) -> Iterator[tuple[int, Preference]]:
    """Yield what members said of blind second answers, each with the member's user ID."""
    rows = session.execute(
        select(
            ComparisonRow.first_id,
            ComparisonRow.second_id,
            ComparisonRow.better_id,
            ComparisonRow.user_id,
            ComparisonRow.created_at,
            ReplyRow.guild_id,
            ReplyRow.basis,
        )
        .join(ReplyRow, ReplyRow.id == ComparisonRow.first_id)
        .where(ReplyRow.personality_id == personality_id)
        .order_by(ComparisonRow.created_at)
    )
    for row, weight in weigh_by_account(session, settings.votes, rows):
        answers, voter = (row.first_id, row.second_id), pseudonyms.of(row.user_id)
        yield row.user_id, Preference(answers, row.better_id, voter, weight, row.created_at)


def _corrected(session: Session, personality_id: int, settings: Settings) -> Iterator[tuple[int, int, float, datetime]]:
    """Yield (reply id, user id, weight, moment) of each suggestion of a better answer."""
    rows = session.execute(
        select(
            CorrectionRow.reply_id,
            CorrectionRow.author_id.label("user_id"),
            CorrectionRow.created_at,
            ReplyRow.guild_id,
            ReplyRow.basis,
        )
        .join(ReplyRow)
        .where(
            ReplyRow.personality_id == personality_id,
            CorrectionRow.withdrawn_at.is_(None),
            CorrectionRow.author_id != NOBODY,
        )
    )
    for row, weight in weigh_by_account(session, settings.votes, rows):
        yield row.reply_id, row.user_id, weight, row.created_at


def _replaced(session: Session, personality_id: int, settings: Settings) -> Iterator[tuple[int, int, float, datetime]]:
    """Yield (reply id, user id, weight, moment) of each answer that a member asked to be replaced."""
    later = aliased(ReplyRow)
    rows = session.execute(
        select(
            ReplyRow.id.label("reply_id"),
            later.author_id.label("user_id"),
            later.created_at,
            later.guild_id,
            later.basis,
        )
        .join(
            later,
            (later.personality_id == ReplyRow.personality_id)
            & (later.prompt_digest == ReplyRow.prompt_digest)
            & (later.source_message_id == ReplyRow.source_message_id)
            & (later.id > ReplyRow.id),
        )
        .where(
            ReplyRow.personality_id == personality_id,
            ReplyRow.origin == Origin.CHAT,
            later.origin == Origin.CHAT,
            later.author_id != NOBODY,
            ReplyRow.outcome.in_(FINISHED_WHOLE),
        )
        .order_by(later.id)
    )
    for row, weight in weigh_by_account(session, settings.votes, rows):
        yield row.reply_id, row.user_id, REPLACED_WEIGHT * weight, row.created_at
