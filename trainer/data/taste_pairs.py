"""Pairs from fresh answers that the taste ranks: the best against the worst answer to each prompt. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from storage.database.enums import PairSource
from storage.taste.learning import LearnedTaste, style_of
from storage.training.evidence import RatedReply
from trainer.data.pairs import Pair, group_by_prompt, side_of
from trainer.evaluation.measures import is_degenerate


def rank_by_taste(answers: Sequence[RatedReply], taste: LearnedTaste, min_probability: float) -> list[Pair]:
    """Return a pair for each prompt whose best answer is better than its worst with at least this probability.

    A pair weighs 2P - 1: what is unsure teaches nothing.
    """
    style = style_of([answer.answer for answer in answers])
    utility = dict(zip((answer.id for answer in answers), taste.posterior.score(style).tolist(), strict=True))
    row = {answer.id: style[place] for place, answer in enumerate(answers)}
    rivals = [_rivals(of_prompt, utility) for of_prompt in group_by_prompt(answers).values()]
    found = [(best, worst) for best, worst in filter(None, rivals) if best.answer != worst.answer]
    if not found:
        return []
    best, worst = (np.array([row[pair[side].id] for pair in found]) for side in (0, 1))
    return [
        Pair(
            prompt=better.prompt,
            chosen=side_of(better),
            rejected=side_of(worse),
            source=PairSource.TASTE,
            weight=2 * probability - 1,
            backers=(),
        )
        for (better, worse), probability in zip(found, taste.posterior.p_better(best, worst).tolist(), strict=True)
        if probability >= min_probability
    ]


def _rivals(answers: Sequence[RatedReply], utility: Mapping[int, float]) -> tuple[RatedReply, RatedReply] | None:
    """Return the best answer that is not broken, and the worst of all."""

    def rank(answer: RatedReply) -> tuple[float, int]:
        return utility[answer.id], answer.id

    sound = [answer for answer in answers if not is_degenerate(answer.answer)]
    return (max(sound, key=rank), min(answers, key=rank)) if sound else None
