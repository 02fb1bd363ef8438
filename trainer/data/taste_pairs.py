"""Uses the taste for pairs: it ranks fresh answers, and it weighs pairs that people voted on. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from zlib import crc32

import numpy as np

from storage.database.enums import PairSource
from storage.style import scaled
from storage.taste.learning import LearnedTaste, style_of
from storage.taste.model import Floats
from storage.taste.relevance import NOISE, are_relevant
from trainer.data.pairs import Pair, RoundFeedback, differ, is_broken, probability_better, side_of, weight_of

TASTE_VOTES = 8
"""The taste's expectation of an answer counts as this many votes: docs/internals/statistics.md, "Pairs"."""
PARTS = 8
"""Number of parts of the prompts; the expectations for one part are learned from the votes on the others."""


def rank_by_taste(
    taste: LearnedTaste,
    measures: Mapping[int, Floats],
    relevance: Mapping[int, float],
    min_probability: float,
    about: RoundFeedback,
) -> list[Pair]:
    """Return a pair of answers to one prompt if the best beats the worst with at least this probability.

    The best is not broken, fits its message, and is no less relevant to it than the worst: style must not cost sense. A
    pair weighs 2P - 1, so uncertain pairs teach nothing.
    """
    answers = about.replies
    style = scaled(np.array([measures[answer.id] for answer in answers]))
    utility = taste.posterior.score(style)
    order = sorted(range(len(answers)), key=lambda place: (utility[place], answers[place].id))
    known = [relevance.get(answer.id) for answer in answers]
    relevant = are_relevant(known)
    best = next((p for p in reversed(order) if relevant[p] and not is_broken(answers[p])), order[0])
    worst = next((p for p in order if p == best or not _is_more_relevant(known[p], known[best])), best)
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


def _is_more_relevant(relevance: float | None, other: float | None) -> bool:
    """Return whether the first is more relevant beyond noise; False if either was not measured."""
    return relevance is not None and other is not None and relevance > other + NOISE


def weigh_by_taste(taste: LearnedTaste, pairs: Sequence[Pair], feedback: Mapping[str, RoundFeedback]) -> list[Pair]:
    """Return the pairs, with pairs of siblings weighed by the votes on their answers and the taste together.

    One wrong vote can turn a pair of siblings around, and one 👍 more shows little if two answers are alike in every
    trait that members like. So the taste's expectation of each answer is the prior of the share of members who like it.
    It is learned without the votes on answers to the same prompt, so that these count once. A pair is left out if its
    other answer then is the better one.
    """
    siblings = [pair for pair in pairs if pair.source is PairSource.SIBLINGS]
    expected = _expected(taste, siblings, feedback)
    believed = {
        reply.id: _believed(expected[reply.id], reply.up, reply.down)
        for prompt in {pair.prompt for pair in siblings}
        for reply in feedback[prompt].replies
        if reply.id in expected
    }
    weights = {
        pair.rows: weight_of(
            probability_better(*believed[pair.chosen.reply_id or 0], *believed[pair.rejected.reply_id or 0])
        )
        for pair in siblings
    }
    weighed = [replace(pair, weight=weights.get(pair.rows, pair.weight)) for pair in pairs]
    return [pair for pair in weighed if pair.weight > 0]


def _expected(taste: LearnedTaste, siblings: Sequence[Pair], feedback: Mapping[str, RoundFeedback]) -> dict[int, float]:
    """Return the expected share of likes of each answer, by reply, learned from votes on other prompts' answers.

    The taste is learned again without each part of the prompts in turn; leaving out single prompts would take too long.
    """
    parts: dict[int, list[Pair]] = defaultdict(list)
    for pair in siblings:
        parts[crc32(pair.prompt.encode()) % PARTS].append(pair)
    expected: dict[int, float] = {}
    for part in parts.values():
        texts = {side.reply_id or 0: side.text or "" for pair in part for side in (pair.chosen, pair.rejected)}
        asked = {reply.id for prompt in {pair.prompt for pair in part} for reply in feedback[prompt].replies}
        shares = taste.without(asked).p_liked(style_of(list(texts.values())))
        expected |= dict(zip(texts, shares.tolist(), strict=True))
    return expected


def _believed(expected: float, up: float, down: float) -> tuple[float, float]:
    """Return an answer's likes and dislikes, plus those that the taste expects."""
    return up + TASTE_VOTES * expected, down + TASTE_VOTES * (1 - expected)
