"""The style of liked answers, by named measure, and how far other answers go beyond it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sqlalchemy.orm import Session

from storage.sentences import Figure, Sentence
from storage.style import MEASURES, measure_named, measure_style, scaled
from storage.taste.learning import read_measures, style_of
from storage.taste.model import Floats
from storage.taste.opinions import TasteOpinions

PRIOR_ANSWERS = 5.0
"""Number of liked answers that the spread of everyday answers counts as: a few may have no emoji at all."""


@dataclass(frozen=True)
class LikedStyle:
    """Measures of the answers that members liked, weighed by their likes."""

    answers: int
    mean: Floats
    """Scaled means, (D,)."""
    spread: Floats
    """Scaled standard deviations, (D,)."""
    raw_mean: Floats
    """Unscaled means, (D,)."""


@dataclass(frozen=True)
class Excess:
    """A measure's mean distance beyond both the liked answers and the base's."""

    measure: str
    is_above: bool
    distance: float
    """Distance in standard deviations of the liked answers; 0 between liked answers and base."""
    error: float
    """Standard error of the distance."""
    mean: float
    mean_base: float
    mean_liked: float

    @property
    def what(self) -> Sentence:
        """Return the excessive trait in words, with the three means if they are shares of answers."""
        measure = measure_named(self.measure)
        if measure.is_yes_or_no:
            return Sentence(
                "{what} in {share} of answers (base {base}, liked answers {liked})",
                what=Sentence(measure.more),
                share=Figure(self.mean, ".0%"),
                base=Figure(self.mean_base, ".0%"),
                liked=Figure(self.mean_liked, ".0%"),
            )
        return Sentence(measure.more if self.is_above else measure.less)


def read_liked_style(session: Session, opinions: TasteOpinions) -> LikedStyle | None:
    """Return the style of the answers with more likes than dislikes, by weight; None if there are none."""
    weights = liked_replies(opinions)
    measures = read_measures(session, set(weights))
    if not measures:
        return None
    raw = np.array(list(measures.values()))
    return liked_style(raw, np.array([weights[reply_id] for reply_id in measures]))


def liked_style(raw: Floats, weight: Floats) -> LikedStyle:
    """Return the style of answers with these measures, (N, D), and weights, (N,)."""
    share, x = weight / weight.sum(), scaled(raw)
    mean = share @ x
    variance = share @ (x - mean) ** 2
    spread = np.sqrt((len(x) * variance + PRIOR_ANSWERS) / (len(x) + PRIOR_ANSWERS))
    return LikedStyle(len(x), mean, spread, share @ raw)


def liked_replies(opinions: TasteOpinions) -> dict[int, float]:
    """Return {answer: likes less dislikes} of the answers with more likes."""
    return {reply_id: weight for reply_id, weight in like_balances(opinions).items() if weight > 0}


def like_balances(opinions: TasteOpinions) -> dict[int, float]:
    """Return {answer: likes less dislikes}, by weight; a choice is a like of the chosen answer."""
    balance: dict[int, float] = defaultdict(float)
    for opinion in opinions.opinions:
        weight = opinion.weight * opinions.factors.get(opinion.voter, 1.0)
        balance[opinion.reply_id] += weight if opinion.liked else -weight
    for choice in opinions.choices:
        if choice.chosen is not None:
            balance[choice.chosen] += choice.weight * opinions.factors.get(choice.voter, 1.0)
    return balance


def find_excesses(answers: Sequence[str], base: Sequence[str], liked: LikedStyle) -> list[Excess]:
    """Return every measure of the answers, at least one, the farthest beyond first.

    `base` holds the base's answers to the same prompts. They need not resemble the answers that people voted on, so
    anything between the two is no excess.
    """
    x, x_base = style_of(answers), style_of(base)
    mean, mean_base = x.mean(axis=0), x_base.mean(axis=0)
    above = mean - np.maximum(liked.mean, mean_base)
    below = np.minimum(liked.mean, mean_base) - mean
    distance = np.maximum(0.0, np.maximum(above, below)) / liked.spread
    error = np.sqrt(x.var(axis=0) / liked.spread**2 / len(x) + 1 / liked.answers)
    raw, raw_base = (np.mean([measure_style(text) for text in texts], axis=0) for texts in (answers, base))
    order = np.argsort(-distance, kind="stable")
    return [
        Excess(
            MEASURES[place].name,
            bool(above[place] > below[place]),
            float(distance[place]),
            float(error[place]),
            float(raw[place]),
            float(raw_base[place]),
            float(liked.raw_mean[place]),
        )
        for place in order
    ]
