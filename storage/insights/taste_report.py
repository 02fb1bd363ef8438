"""The data of `/taste`: the traits that members like, their effects, and the answers whose votes show them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from math import exp

import numpy as np
from sqlalchemy import ColumnElement
from sqlalchemy.orm import Session

from storage.database.tables import ReplyRow
from storage.insights.answering_now import AnsweringNow, answering_with
from storage.settings.sections import Settings
from storage.statistics import Z_95
from storage.taste.learning import LearnedTaste, learn_from
from storage.taste.opinions import TasteOpinions, read_taste_opinions
from storage.taste.words import (
    Effect,
    Sureness,
    examples_of,
    likings,
    open_questions,
)
from storage.votes.votes import FeedbackCounts

EXAMPLES = 2
SEARCHED = 1_000
"""Number of the newest liked, and newest disliked, answers among which the examples are searched."""


@dataclass(frozen=True)
class ShownEffect:
    """Effect of one standard deviation more of a trait on the chance of a 👍, compared with an average answer."""

    name: str
    """Name of the measure."""
    words: str
    """The liked trait, such as "shorter answers"."""
    size: float
    """The effect in log odds; negative if members like less of the trait."""
    spread: float
    """Standard deviation of the effect."""
    sureness: Sureness
    share_before: float
    """Chance of a 👍 for an average answer; of being chosen, if people have only chosen so far."""
    share_after: float
    share_low: float
    """`share_low` to `share_high` is the 95 % interval of `share_after`."""
    share_high: float


@dataclass(frozen=True)
class TasteReport:
    """A personality's taste as its members' votes show it."""

    is_learning: bool
    """True if the operator lets reactions teach."""
    counts: FeedbackCounts
    """Numbers of what counts."""
    since: datetime | None
    """The time of the first vote that counts."""
    evidence: float
    """The e-value of the predictions: above 1, they were better than the share of 👍."""
    chooses: bool
    """True if the bot begins several answers, among which a taste can choose."""
    now: AnsweringNow
    """The taste's present effects: whether it chooses among begun answers, and the base's examples and order."""
    teaches: bool
    """True if examples and rounds follow the taste."""
    ranks: bool
    """True if rounds follow the taste."""
    effects: tuple[ShownEffect, ...]
    """The effects of traits, the surest first."""
    liked: tuple[str, ...]
    """Liked answers of the bot that fit the taste best."""
    disliked: tuple[str, ...]
    open_questions: tuple[str, ...]
    """The traits that the votes reveal least about."""

    @property
    def is_empty(self) -> bool:
        return self.counts.total == 0


def read_taste_report(
    session: Session, personality_id: int, settings: Settings, *may_be_seen: ColumnElement[bool]
) -> TasteReport:
    """Return the taste's report; its examples are only answers that `may_be_seen` selects."""
    evidence = read_taste_opinions(session, personality_id, settings)
    taste = learn_from(session, personality_id, evidence)
    is_learning, chooses = settings.privacy.learn_from_reactions, settings.generation.candidates > 1
    now = answering_with(session, personality_id, settings, evidence, taste)
    told = likings(taste)
    liked, disliked = _read_examples(session, taste, personality_id, evidence, *may_be_seen)
    return TasteReport(
        is_learning=is_learning,
        counts=taste.counts,
        since=_first_vote(evidence),
        evidence=taste.e_value,
        chooses=chooses,
        now=now,
        teaches=taste.may_teach,
        ranks=taste.may_rank,
        effects=shown_effects(taste, told),
        liked=liked,
        disliked=disliked,
        open_questions=tuple(measure.more for measure in open_questions(taste, told)) if len(taste.data) else (),
    )


def _first_vote(evidence: TasteOpinions) -> datetime | None:
    moments = [opinion.given_at for opinion in evidence.opinions[:1]]
    moments += [choice.given_at for choice in evidence.choices[:1]]
    return min(moments, default=None)


def shown_effects(taste: LearnedTaste, told: Collection[Effect]) -> tuple[ShownEffect, ...]:
    """Return each effect's change of the chance of a 👍, for a person of average leniency."""
    if len(taste.data.thumbs.liked):
        average = np.vstack([taste.data.thumbs.x, taste.data.choices.x]).mean(axis=0)
        odds = taste.posterior.likes + float(average @ taste.posterior.mean)
    else:
        odds = 0.0  # choices do not show how often people give a 👍
    return tuple(_shown(effect, odds) for effect in told)


def _shown(effect: Effect, odds: float) -> ShownEffect:
    assert effect.sureness is not None
    gain, reach = abs(effect.size), Z_95 * effect.spread
    return ShownEffect(
        name=effect.measure.name,
        words=effect.words,
        size=effect.size,
        spread=effect.spread,
        sureness=effect.sureness,
        share_before=_share(odds),
        share_after=_share(odds + gain),
        share_low=_share(odds + gain - reach),
        share_high=_share(odds + gain + reach),
    )


def _share(odds: float) -> float:
    """Return the probability with these log odds."""
    return 1 / (1 + exp(-odds))


def _read_examples(
    session: Session,
    taste: LearnedTaste,
    personality_id: int,
    evidence: TasteOpinions,
    *may_be_seen: ColumnElement[bool],
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return (liked answers, disliked answers), those that fit the taste best first."""
    liking: dict[int, float] = defaultdict(float)
    for opinion in evidence.opinions:
        liking[opinion.reply_id] += opinion.weight if opinion.liked else -opinion.weight
    for choice in evidence.choices:
        if choice.chosen is not None:
            liking[choice.chosen] += choice.weight

    def ranked(reply_ids: Collection[int]) -> list[str]:
        which = (ReplyRow.id.in_(sorted(reply_ids)[-SEARCHED:]), *may_be_seen)
        return [shown.text for shown in examples_of(session, taste, personality_id, SEARCHED, *which)]

    liked = ranked({reply_id for reply_id, net in liking.items() if net > 0})[:EXAMPLES]
    disliked = ranked({reply_id for reply_id, net in liking.items() if net < 0})[::-1]
    return tuple(liked), tuple(text for text in disliked if text not in liked)[:EXAMPLES]
