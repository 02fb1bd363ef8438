"""The choice among the candidates for an answer, and what it gains: chosen answers against random ones.

The gain comes from the votes, by inverse propensity.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

from sqlalchemy import select
from sqlalchemy.orm import Session

from storage.conversations.replies import lock_replies
from storage.database.tables import ReplyChoiceRow, ReplyRow
from storage.settings.sections import VoteSettings
from storage.statistics import Z_95
from storage.votes.votes import Vote
from storage.votes.weights import counted_votes


@dataclass(frozen=True)
class CandidateChoice:
    utilities: tuple[float, ...]
    """The taste model's utility of each candidate."""
    shown: int
    """The index of the shown candidate."""
    propensity: float
    """Probability of showing this candidate, given the candidates."""

    @property
    def is_best(self) -> bool:
        """True if the shown candidate is better than some others, and none is better."""
        return min(self.utilities) < self.utilities[self.shown] == max(self.utilities)


def record_choice(session: Session, reply_id: int, choice: CandidateChoice) -> None:
    """Store the choice among an answer's candidates, unless the answer was deleted in the meantime."""
    if lock_replies(session, {reply_id}):
        session.merge(ReplyChoiceRow(reply_id=reply_id, **vars(choice)))


@dataclass(frozen=True)
class ShownVote:
    """A vote on an answer that was shown out of several candidates."""

    liked: bool
    share: float
    """Share of the candidates that are equal to it, itself included."""
    is_best: bool
    """True if the taste liked it best."""
    propensity: float


@dataclass(frozen=True)
class CandidateGain:
    votes: int
    chosen: float
    """Share of 👍 if the best candidate is always shown, in [0, 1]."""
    random: float
    """Share of 👍 if a random one is always shown."""
    spread: float
    """Standard error of the difference."""

    @property
    def is_certain(self) -> bool:
        """Return whether the difference is beyond chance, at 95 %."""
        return abs(self.chosen - self.random) > Z_95 * self.spread


def read_gain(session: Session, personality_id: int, settings: VoteSettings) -> CandidateGain | None:
    """Return the gain; None while there are no votes on answers that were chosen this way or at random."""
    rows = session.execute(
        select(ReplyChoiceRow).join(ReplyRow).where(ReplyRow.personality_id == personality_id)
    ).scalars()
    choices = {row.reply_id: row for row in rows}
    if not choices:
        return None
    votes = (vote for vote in counted_votes(session, personality_id, settings) if vote.reply_id in choices)
    return estimate_gain([_shown(choices[vote.reply_id], vote.vote is Vote.UP) for vote in votes])


def _shown(choice: ReplyChoiceRow, liked: bool) -> ShownVote:
    utilities, shown = choice.utilities, choice.utilities[choice.shown]
    return ShownVote(liked, utilities.count(shown) / len(utilities), shown == max(utilities), choice.propensity)


def estimate_gain(shown: Sequence[ShownVote]) -> CandidateGain | None:
    """Weigh each vote by each rule's probability of showing its answer over the actual one (Owen 2013, section 9.2)."""
    best = [1 / one.propensity if one.is_best else 0.0 for one in shown]
    chance = [one.share / one.propensity for one in shown]
    all_best, all_chance = sum(best), sum(chance)
    if not all_best or all(one.is_best for one in shown):
        return None  # nothing was left to chance yet
    liked = [float(one.liked) for one in shown]
    chosen, random = _mean(liked, best), _mean(liked, chance)
    errors = [
        (like - chosen) * of_best / all_best - (like - random) * of_chance / all_chance
        for like, of_best, of_chance in zip(liked, best, chance, strict=True)
    ]
    return CandidateGain(len(shown), chosen, random, sqrt(sum(error**2 for error in errors)))


def _mean(values: Sequence[float], weights: Sequence[float]) -> float:
    return sum(value * weight for value, weight in zip(values, weights, strict=True)) / sum(weights)
