"""People's opinions of a personality's answers: thumbs, choices, suggestions and 🔁. No member's words are read."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import chain
from typing import NamedTuple

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from storage.conversations.replies import FINISHED_WHOLE
from storage.database.enums import NOBODY, Origin
from storage.database.rows import any_row
from storage.database.tables import ArenaAnswerRow, ComparisonRow, CorrectionRow, OptOutRow, ReplyRow
from storage.members import Pseudonym, Pseudonyms, read_pseudonyms
from storage.settings.sections import Settings, VoteSettings
from storage.votes.corrections import wrong_facts
from storage.votes.voter_caps import cap_factors
from storage.votes.votes import FeedbackCounts, Vote, read_emoji_weights
from storage.votes.weights import (
    CurrentVote,
    WeightedVotes,
    counted_votes,
    counted_votes_on,
    quarantined,
    weigh_by_account,
)

NEWEST_ANSWERS = 10_000
"""Votes on older answers are not read: they say little about today's members."""
REPLACED_WEIGHT = 0.3
"""Weight of 🔁, as a dislike of the answer before, by an account that counts in full.

A member who asks for another answer may only be curious, so it counts much less than a 👎. Chosen, not measured.
"""


class Opinion(NamedTuple):
    """One person's opinion of one answer."""

    reply_id: int
    voter: Pseudonym
    liked: bool
    weight: float
    given_at: datetime
    is_vote: bool = True
    """False if it stands for a 🔁 or a suggested answer."""


class Preference(NamedTuple):
    """One person's choice among the answers to one prompt; None is "about the same"."""

    reply_ids: tuple[int, ...]
    chosen: int | None
    voter: Pseudonym
    weight: float
    given_at: datetime
    in_order: bool = False
    """True if the first answer was shown before the second, in the chat."""

    @property
    def shares(self) -> list[float]:
        """Return each answer's share of the choice."""
        if self.chosen is None:
            return [1 / len(self.reply_ids)] * len(self.reply_ids)
        return [float(reply_id == self.chosen) for reply_id in self.reply_ids]


@dataclass(frozen=True)
class TasteOpinions:
    """Opinions and choices, oldest first."""

    opinions: tuple[Opinion, ...]
    choices: tuple[Preference, ...]
    factors: Mapping[Pseudonym, float] = field(default_factory=dict)
    """Factors for the weights of people who gave many more votes than others; 1 is absent."""

    @property
    def counts(self) -> FeedbackCounts:
        """Return the numbers as they are shown: the thumbs of "both good" and "both bad" are part of that choice."""
        chosen = {(answer, one.voter) for one in self.choices if not one.in_order for answer in one.reply_ids}
        votes = sum(one.is_vote and (one.reply_id, one.voter) not in chosen for one in self.opinions)
        others = sum(not one.is_vote for one in self.opinions)
        people = {one.voter for one in (*self.opinions, *self.choices)}
        return FeedbackCounts(votes, len(self.choices), others, len(people))

    def between(self, begins: datetime, ends: datetime) -> TasteOpinions:
        """Return the opinions from `begins` up to `ends`, which is not included."""
        opinions = tuple(one for one in self.opinions if begins <= one.given_at < ends)
        choices = tuple(one for one in self.choices if begins <= one.given_at < ends)
        return replace(self, opinions=opinions, choices=choices)


NO_OPINIONS = TasteOpinions((), ())


def read_taste_opinions(session: Session, personality_id: int, settings: Settings) -> TasteOpinions:
    """Return the opinions that count: no votes in quarantine, on wrong facts, or of people who opted out."""
    if not settings.privacy.learn_from_reactions:
        return NO_OPINIONS
    pseudonyms = read_pseudonyms(session)
    silent = set(session.scalars(select(OptOutRow.user_id)))
    votes = list(counted_votes(session, personality_id, settings.votes, newest=NEWEST_ANSWERS))
    arenas = _arenas(session, personality_id)
    opinions = _opinions(session, [vote for vote in votes if vote.reply_id not in arenas], pseudonyms)
    said = {(opinion.reply_id, opinion.voter) for opinion in opinions}
    # A vote that does not count must not come back as a suggestion.
    uncounted = quarantined(session, personality_id) | wrong_facts(session, personality_id)
    said |= {(reply_id, pseudonyms.of(user_id)) for reply_id, user_id in uncounted}
    weaker = (_corrected(session, personality_id, settings.votes), _replaced(session, personality_id, settings.votes))
    for reply_id, user_id, weight, given_at in chain(*weaker):
        voter = pseudonyms.of(user_id)
        if user_id not in silent and (reply_id, voter) not in said:
            said.add((reply_id, voter))
            opinions.append(Opinion(reply_id, voter, False, weight, given_at, is_vote=False))
    choices = [
        *_picks((vote for vote in votes if vote.reply_id in arenas), arenas, pseudonyms),
        *(
            choice
            for user_id, choice in _comparisons(session, personality_id, settings.votes, pseudonyms)
            if user_id not in silent
        ),
    ]
    return TasteOpinions(
        tuple(sorted(opinions, key=lambda one: (one.given_at, one.reply_id, one.voter))),
        tuple(sorted(choices, key=lambda one: (one.given_at, one.reply_ids, one.voter))),
        cap_factors(weight_by_voter((*opinions, *choices)), settings.votes.max_voter_share),
    )


def count_feedback(votes: WeightedVotes, opinions: TasteOpinions) -> FeedbackCounts:
    """Return the numbers of all that counts, also of the votes from which no taste learns."""
    people = votes.people.union(one.voter for one in (*opinions.opinions, *opinions.choices))
    return replace(opinions.counts, votes=votes.counted, people=len(people))


def read_thumbs_on(
    session: Session, personality_id: int, settings: VoteSettings, reply_ids: Collection[int]
) -> list[Opinion] | None:
    """Return the votes on these answers that count, oldest first; None if some of them are choices, as in arenas."""
    if any_row(session, select(ArenaAnswerRow.reply_id).where(ArenaAnswerRow.reply_id.in_(reply_ids))):
        return None
    pseudonyms = read_pseudonyms(session)
    opinions = [
        _opinion(vote, emoji, pseudonyms)
        for vote, emoji in counted_votes_on(session, personality_id, settings, reply_ids)
    ]
    return sorted(opinions, key=lambda one: (one.given_at, one.reply_id, one.voter))


def weight_by_voter(said: Iterable[Opinion | Preference]) -> dict[Pseudonym, float]:
    totals: dict[Pseudonym, float] = defaultdict(float)
    for one in said:
        totals[one.voter] += one.weight
    return totals


def _opinions(session: Session, votes: Sequence[CurrentVote], pseudonyms: Pseudonyms) -> list[Opinion]:
    others = read_emoji_weights(session, {vote.reply_id for vote in votes})
    return [_opinion(vote, others.get((vote.reply_id, vote.user_id), 1.0), pseudonyms) for vote in votes]


def _opinion(vote: CurrentVote, emoji: float, pseudonyms: Pseudonyms) -> Opinion:
    """Return the vote as an opinion; `emoji` is the weight of its emoji, in thumbs."""
    voter = pseudonyms.of(vote.user_id)
    return Opinion(vote.reply_id, voter, vote.vote is Vote.UP, vote.weight * emoji, vote.voted_at)


def _arenas(session: Session, personality_id: int) -> dict[int, tuple[int, ...]]:
    """Return {answer: all answers of its arena} for the answers in arenas."""
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
    session: Session, personality_id: int, settings: VoteSettings, pseudonyms: Pseudonyms
) -> Iterator[tuple[int, Preference]]:
    """Yield members' choices between blind answers, each with the member's user ID."""
    rows = session.execute(
        select(
            ComparisonRow.first_id,
            ComparisonRow.second_id,
            ComparisonRow.better_id,
            ComparisonRow.user_id,
            ComparisonRow.created_at,
            ReplyRow.guild_id,
            ReplyRow.basis,
            ReplyRow.origin,
        )
        .join(ReplyRow, ReplyRow.id == ComparisonRow.first_id)
        .where(ReplyRow.personality_id == personality_id)
        .order_by(ComparisonRow.created_at)
    )
    for row, weight in weigh_by_account(session, settings, rows):
        answers, voter = (row.first_id, row.second_id), pseudonyms.of(row.user_id)
        yield (
            row.user_id,
            Preference(answers, row.better_id, voter, weight, row.created_at, in_order=row.origin is Origin.CHAT),
        )


def _corrected(
    session: Session, personality_id: int, settings: VoteSettings
) -> Iterator[tuple[int, int, float, datetime]]:
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
    for row, weight in weigh_by_account(session, settings, rows):
        yield row.reply_id, row.user_id, weight, row.created_at


def _replaced(
    session: Session, personality_id: int, settings: VoteSettings
) -> Iterator[tuple[int, int, float, datetime]]:
    """Yield (reply id, user id, weight, moment) of each answer that a member asked to be replaced."""
    answers = (
        select(
            ReplyRow.id,
            ReplyRow.source_message_id,
            ReplyRow.prompt_digest,
            ReplyRow.outcome,
            ReplyRow.author_id.label("user_id"),
            ReplyRow.created_at,
            ReplyRow.guild_id,
            ReplyRow.basis,
            func.count().over(partition_by=ReplyRow.source_message_id).label("answers"),
        )
        .where(
            ReplyRow.personality_id == personality_id,
            ReplyRow.origin == Origin.CHAT,
            ReplyRow.source_message_id.is_not(None),
        )
        .subquery()
    )
    rows = session.execute(select(answers).where(answers.c.answers > 1).order_by(answers.c.id)).all()
    known = [row for row in rows if row.user_id != NOBODY]
    weights = {row.id: weight for row, weight in weigh_by_account(session, settings, known)}
    # Paired here: a common prompt, such as "hi", has many answers, which a database would compare with each other.
    before: dict[tuple[int, str], list[int]] = defaultdict(list)
    for row in rows:
        earlier = before[row.source_message_id, row.prompt_digest]
        if row.id in weights:
            for reply_id in earlier:
                yield reply_id, row.user_id, REPLACED_WEIGHT * weights[row.id], row.created_at
        if row.outcome in FINISHED_WHOLE:
            earlier.append(row.id)
