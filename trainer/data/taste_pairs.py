"""Pairs from fresh answers that the taste ranks: the best against the worst answer to a prompt. Pure."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from storage.database.enums import PairSource
from storage.taste.learning import LearnedTaste
from storage.taste.measures import scaled
from storage.taste.model import Floats
from trainer.data.pairs import Pair, RoundFeedback, differ, is_broken, side_of


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
    sound = [place for place in order if not is_broken(answers[place])]
    if not sound or sound[-1] == order[0]:
        return []
    better, worse = answers[sound[-1]], answers[order[0]]
    probability = float(taste.posterior.p_better(style[sound[-1:]], style[order[:1]])[0])
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
