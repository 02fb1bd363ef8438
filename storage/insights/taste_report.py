"""What `/taste` shows: what people like, how much more it is liked, and the answers whose votes say so."""

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

EXAMPLES = 2
SEARCHED = 1_000
"""Newest liked, and newest disliked, answers among which the examples are searched."""


@dataclass(frozen=True)
class ShownEffect:
    """How much likelier a 👍 is for an answer with one standard deviation more of something than for an average one."""

    name: str
    """Of the measure."""
    words: str
    """What people like, such as "shorter answers"."""
    size: float
    """In log odds; negative if people like less of it."""
    spread: float
    """Standard deviation of the size."""
    sureness: Sureness
    share_before: float
    """Chance of a 👍 for an average answer; of being chosen, if people have only chosen so far."""
    share_after: float
    share_low: float
    """Ends of the 95 % interval of `share_after`."""
    share_high: float


@dataclass(frozen=True)
class TasteReport:
    """What a personality's people like, as far as their votes say."""

    is_learning: bool
    """Whether the operator lets reactions teach."""
    votes: int
    choices: int
    voters: int
    since: datetime | None
    """The first vote that counts."""
    evidence: float
    """The e-value of the predictions: above 1, they were better than the share of 👍."""
    chooses: bool
    """Whether the bot begins several answers, among which a taste can choose."""
    now: AnsweringNow
    """What acts: whether it chooses among the answers that the bot begins, and what the base is shown and told."""
    teaches: bool
    """Whether examples and rounds follow it."""
    ranks: bool
    """Whether rounds do."""
    effects: tuple[ShownEffect, ...]
    """The surest first."""
    liked: tuple[str, ...]
    """Liked answers of the bot that fit the taste best."""
    disliked: tuple[str, ...]
    open_questions: tuple[str, ...]
    """What the votes say least about."""

    @property
    def is_empty(self) -> bool:
        return self.votes + self.choices == 0


def read_taste_report(
    session: Session, personality_id: int, settings: Settings, *may_be_seen: ColumnElement[bool]
) -> TasteReport:
    """Return what people like; only answers that `may_be_seen` selects are among the examples."""
    evidence = read_taste_opinions(session, personality_id, settings)
    taste = learn_from(session, personality_id, evidence)
    is_learning, chooses = settings.privacy.learn_from_reactions, settings.generation.candidates > 1
    now = answering_with(session, personality_id, settings, evidence, taste)
    told = likings(taste)
    liked, disliked = _read_examples(session, taste, personality_id, evidence, *may_be_seen)
    return TasteReport(
        is_learning=is_learning,
        votes=len(taste.data.thumbs.liked),
        choices=len(taste.data.choices.starts),
        voters=evidence.people,
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
    """Return what each effect does to the chance of a 👍, for somebody of average leniency."""
    if len(taste.data.thumbs.liked):
        average = np.vstack([taste.data.thumbs.x, taste.data.choices.x]).mean(axis=0)
        odds = taste.posterior.likes + float(average @ taste.posterior.mean)
    else:
        odds = 0.0  # nothing says how often people give a 👍, only what they choose
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
    """Return liked and disliked answers, those first that fit the taste best."""
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
