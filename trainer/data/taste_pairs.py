"""What the taste adds to pairs: it ranks fresh answers, and weighs those that people voted on. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from storage.database.enums import PairSource
from storage.taste.learning import LearnedTaste, style_of
from storage.taste.measures import scaled
from storage.taste.model import Floats
from trainer.data.pairs import Pair, RoundFeedback, differ, is_broken, side_of

BY_VOTES = {PairSource.SIBLINGS, PairSource.CHOICE}
"""Where a few votes decide which answer is better; a suggestion says it by itself."""


def rank_by_taste(
    taste: LearnedTaste, measures: Mapping[int, Floats], min_probability: float, about: RoundFeedback
) -> list[Pair]:
    """Return a pair of the answers to one prompt if the best is better than the worst with at least this probability.

    The best is not broken. A pair weighs 2P - 1: what is unsure teaches nothing.
    """
    answers = about.replies
    style = scaled(np.array([measures[answer.id] for answer in answers]))
    utility = taste.posterior.score(style)
    order = sorted(range(len(answers)), key=lambda place: (utility[place], answers[place].id))
    worst, best = order[0], next((place for place in reversed(order) if not is_broken(answers[place])), order[0])
    if best == worst:
        return []
    better, worse = answers[best], answers[worst]
    probability = float(taste.posterior.p_better(style[[best]], style[[worst]])[0])
    if not differ(better.answer, worse.answer) or probability < min_probability:
        return []
    return [
        Pair(
            prompt=better.prompt,
            chosen=side_of(better),
            rejected=side_of(worse),
            source=PairSource.TASTE,
            weight=2 * probability - 1,
            backers=(),
        )
    ]


def weigh_by_taste(taste: LearnedTaste, pairs: Sequence[Pair]) -> list[Pair]:
    """Return the pairs weighed by what their votes say together with the taste, which all votes made.

    One wrong vote can turn a pair around. The taste is a second witness: the odds of both are multiplied. A pair whose
    other answer is then the better one is left out.
    """
    by_votes = [pair for pair in pairs if pair.source in BY_VOTES]
    better = style_of([pair.chosen.text or "" for pair in by_votes])
    worse = style_of([pair.rejected.text or "" for pair in by_votes])
    by_taste = taste.posterior.p_better(better, worse).tolist()
    weights = {
        pair.rows: _together(pair.weight, probability) for pair, probability in zip(by_votes, by_taste, strict=True)
    }
    found = [replace(pair, weight=weights.get(pair.rows, pair.weight)) for pair in pairs]
    return [pair for pair in found if pair.weight > 0]


def _together(weight: float, by_taste: float) -> float:
    """Return the weight of a pair with this weight by its votes, and this probability by the taste."""
    by_votes = (1 + weight) / 2
    for_it, against = by_votes * by_taste, (1 - by_votes) * (1 - by_taste)
    return (for_it - against) / (for_it + against)
