"""Pairs from fresh answers that the taste ranks: the best against the worst answer to each prompt. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from storage.database.enums import PairSource
from storage.taste.learning import LearnedTaste, style_of
from storage.training.evidence import RatedReply
from trainer.data.pairs import Pair, side_of
from trainer.evaluation.measures import is_degenerate


def rank_by_taste(answers: Sequence[RatedReply], taste: LearnedTaste, min_probability: float) -> list[Pair]:
    """Return a pair for each prompt whose best answer is better than its worst with at least this probability.

    A pair weighs 2P - 1: what is unsure teaches nothing.
    """
    by_prompt: dict[str, list[RatedReply]] = defaultdict(list)
    for answer in answers:
        by_prompt[answer.prompt].append(answer)
    rivals = [_rivals(of_prompt, taste) for of_prompt in by_prompt.values()]
    found = [(best, worst) for best, worst in filter(None, rivals) if best.answer != worst.answer]
    if not found:
        return []
    best, worst = (style_of([pair[side].answer for pair in found]) for side in (0, 1))
    sure = taste.posterior.p_better(best, worst).tolist()
    return [
        Pair(
            prompt=better.prompt,
            chosen=side_of(better),
            rejected=side_of(worse),
            source=PairSource.TASTE,
            weight=2 * probability - 1,
            backers=(),
        )
        for (better, worse), probability in zip(found, sure, strict=True)
        if probability >= min_probability
    ]


def _rivals(answers: Sequence[RatedReply], taste: LearnedTaste) -> tuple[RatedReply, RatedReply] | None:
    """Return the best answer that is not broken, and the worst of all."""
    utility = dict(zip(answers, taste.score([answer.answer for answer in answers]).tolist(), strict=True))
    sound = [answer for answer in answers if not is_degenerate(answer.answer)]
    if not sound:
        return None
    return max(sound, key=lambda answer: (utility[answer], answer.id)), min(
        answers, key=lambda answer: (utility[answer], answer.id)
    )
