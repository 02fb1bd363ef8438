"""How much an emoji says is learned, against the same model written down plainly and solved by other means."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import expit, log_expit

from bot.demo.community import question, read_community_answers
from storage.taste.emoji_weights import NO_EMOJI, RATE_SD, WEIGHT_SD, EmojiChoices, EmojiWeights, expected_weights
from storage.taste.learning import GROUPS, style_of
from storage.taste.model import LIKES_MEAN, LIKES_SD, VOTER_SD, Choices, Floats, Posterior, Thumbs, fit, prior

EMOJI: Mapping[str, float] = {"👍": 1.0, "👎": -1.0, "❤": 1.0, "🔥": 1.0, "💩": -1.5}
UP, DOWN, HEART, FIRE, POO = range(5)
TRUTH = np.array([1.5, -0.5, 0.0])
SMALL = ("length", "length", "form")


def no_choices(size: int) -> Choices:
    return Choices(np.zeros((0, size)), np.zeros(0, dtype=np.intp), np.zeros(0), np.zeros(0))


def small_votes(seed: int, count: int = 80) -> Thumbs:
    """Return votes of three voters by the true coefficients, with any emoji; voter 2 gives nothing but thumbs."""
    random = np.random.default_rng(seed)
    x, voter = random.normal(size=(count, len(TRUTH))), random.integers(3, size=count)
    liked = random.random(count) < expit(x @ TRUTH)
    emoji = np.where(liked, random.choice([UP, HEART, FIRE], count), random.choice([DOWN, POO], count))
    emoji[voter == 2] = np.where(liked, UP, DOWN)[voter == 2]
    emoji[:5] = NO_EMOJI
    return Thumbs(x, liked.astype(float), voter, random.uniform(0.3, 1.0, count), emoji)


def likelihood_of_emoji(weights: EmojiWeights, mean: Floats, thumbs: Thumbs) -> float:
    """Return the log likelihood of each emoji among those of its side, by voters who gave more than thumbs there."""
    found = 0.0
    for x, liked, voter, weight, emoji in zip(*vars(thumbs).values(), strict=True):
        side = [UP, HEART, FIRE] if liked else [DOWN, POO]
        theirs = thumbs.emoji[(thumbs.voter == voter) & (thumbs.liked == liked)]
        if emoji == NO_EMOJI or not np.isin(theirs, side[1:]).any():
            continue
        odds = [weights.rate[one] + (weights.weight[one] - 1) * weights.thumb[one] * (x @ mean) for one in side]
        found += weight * (odds[side.index(emoji)] - np.log(np.exp(odds).sum()))
    return found


def start() -> Posterior:
    known = prior(SMALL, 3, EMOJI)
    rate, weight = np.array([0, 0, -1.0, 0.5, -0.3]), np.array([1.0, 1.0, 2.2, 0.4, 1.8])
    return replace(known, precision=np.array([2.0, 3.0, 1.0]), emoji=replace(known.emoji, rate=rate, weight=weight))


def test_the_posterior_is_that_of_likes_and_of_the_emoji_chosen_for_them() -> None:
    thumbs, known = small_votes(0), start()
    size = len(TRUTH)

    def height(at: Floats) -> float:
        mean, likes, leniency = at[:size], at[size], at[size + 1 :]
        sign = np.where(thumbs.liked > 0, 1, -1)
        said = (thumbs.weight * log_expit(sign * (thumbs.x @ mean + likes + leniency[thumbs.voter]))).sum()
        believed = (known.precision * mean**2).sum() + ((likes - LIKES_MEAN) / LIKES_SD) ** 2
        believed += ((leniency / VOTER_SD) ** 2).sum()
        return float(said - believed / 2 + likelihood_of_emoji(known.emoji, mean, thumbs))

    other = minimize(lambda at: -height(at), np.zeros(size + 4), options={"gtol": 1e-7})
    found = fit(thumbs, no_choices(size), SMALL, known, hyper_steps=0)
    assert np.concatenate([found.mean, [found.likes], found.leniency]) == pytest.approx(other.x, abs=1e-4)


def test_the_weights_are_the_likeliest_ones_around_those_of_the_settings() -> None:
    thumbs, start = small_votes(1), expected_weights(EMOJI)
    places, likes = [HEART, FIRE, POO], 0.7
    found = EmojiChoices(start, thumbs.x, thumbs.emoji, thumbs.voter, thumbs.weight).learn(TRUTH, likes)
    known = replace(start, thumb=found.thumb)

    def weights_at(at: Floats) -> EmojiWeights:
        rate, weight = known.rate.copy(), known.weight.copy()
        rate[places], weight[places] = at[:3], at[3:]
        return replace(known, rate=rate, weight=weight)

    def height(at: Floats) -> float:
        believed = (at[:3] / RATE_SD) ** 2, ((at[3:] - known.expected[places]) / WEIGHT_SD) ** 2
        return likelihood_of_emoji(weights_at(at), TRUTH, thumbs) - sum(part.sum() for part in believed) / 2

    other = minimize(lambda at: -height(at), np.concatenate([np.zeros(3), known.expected[places]]))
    assert found.rate[places] == pytest.approx(other.x[:3], abs=1e-3)
    assert found.weight[places] == pytest.approx(other.x[3:], abs=1e-3)
    assert found.spread[places] == pytest.approx(np.sqrt(np.diag(other.hess_inv))[3:], rel=0.1)
    assert found.spread[[UP, DOWN]].tolist() == [0, 0]


def test_what_a_thumb_says_is_how_fast_its_probability_rises_with_the_utility() -> None:
    thumbs = small_votes(1)
    theirs = replace(thumbs, emoji=np.where(thumbs.liked > 0, HEART, POO))  # everybody used more than thumbs
    found = EmojiChoices(expected_weights(EMOJI), theirs.x, theirs.emoji, theirs.voter, theirs.weight).learn(TRUTH, 0.7)
    utility, weight = theirs.x @ TRUTH, np.sqrt(theirs.weight)
    for place, chance in ((HEART, log_expit(utility + 0.7)), (POO, log_expit(-utility - 0.7))):
        assert found.thumb[place] == pytest.approx(np.polyfit(utility, chance, 1, w=weight)[0])
    assert found.thumb[HEART] - found.thumb[POO] == pytest.approx(1)


def test_thumbs_alone_are_learned_from_as_if_there_were_no_other_emoji() -> None:
    thumbs = small_votes(2)
    bare = replace(thumbs, emoji=np.full_like(thumbs.emoji, NO_EMOJI))
    plain = replace(thumbs, emoji=np.where(thumbs.liked > 0, UP, DOWN))
    found, expected = (fit(votes, no_choices(3), SMALL, prior(SMALL, 3, EMOJI)) for votes in (plain, bare))
    assert found.mean == pytest.approx(expected.mean)
    assert found.emoji.weight.tolist() == found.emoji.expected.tolist()


ANSWERS = [answer for answered in read_community_answers() for answer in answered.answers]
NOISE = 0.1


def server(heart: float, votes: int, seed: int) -> Thumbs:
    """Return votes on the bundled model's answers where questions are liked, and a ❤ means so many 👍.

    A 👍 is 9 times likelier under what people like. Of a ❤ that means n, the odds against a 👍 are 9 ** (n - 1) times
    those elsewhere.
    """
    random = np.random.default_rng(seed)
    chosen = random.choice(len(ANSWERS), votes)
    pleases = np.array([question("", ANSWERS[place]) > 0 for place in chosen])
    liked = random.random(votes) < np.where(pleases, 1 - NOISE, NOISE)
    odds = np.where(pleases, 1.0, ((1 - NOISE) / NOISE) ** (1 - heart))
    is_heart = liked & (random.random(votes) < odds / (1 + odds))
    emoji = np.where(is_heart, HEART, np.where(liked, UP, DOWN))
    voter = random.integers(10, size=votes)
    return Thumbs(style_of([ANSWERS[place] for place in chosen]), liked.astype(float), voter, np.ones(votes), emoji)


@pytest.mark.parametrize(("heart", "low", "high"), [(2.0, 1.5, 2.5), (1.0, 0.5, 1.4)])
def test_a_server_where_a_heart_means_twice_a_thumb_is_found_out(heart: float, low: float, high: float) -> None:
    thumbs = server(heart, 600, seed=3)
    found = fit(thumbs, no_choices(thumbs.x.shape[1]), GROUPS, prior(GROUPS, 10, EMOJI)).emoji
    assert low < found.weight[HEART] < high
    assert found.spread[HEART] < 0.3
    assert (found.weight[FIRE], found.spread[FIRE]) == (1.0, WEIGHT_SD)  # nobody used it


def test_a_few_votes_leave_the_weight_near_that_of_the_settings() -> None:
    thumbs = server(2.0, 20, seed=4)
    found = fit(thumbs, no_choices(thumbs.x.shape[1]), GROUPS, prior(GROUPS, 10, EMOJI)).emoji
    assert abs(found.weight[HEART] - 1.0) < 0.5 < found.spread[HEART]


def test_somebody_who_gives_hearts_to_all_that_they_like_says_no_more_than_with_thumbs() -> None:
    """Influence cannot be had by a louder emoji, even if the settings say that it counts three times."""
    thumbs = server(2.0, 300, seed=5)
    quiet = replace(thumbs, emoji=np.where(thumbs.liked > 0, UP, DOWN))
    loud = replace(quiet, emoji=np.where((thumbs.voter == 0) & (thumbs.liked > 0), HEART, quiet.emoji))
    found, expected = (
        fit(votes, no_choices(thumbs.x.shape[1]), GROUPS, prior(GROUPS, 10, {**EMOJI, "❤": 3.0}))
        for votes in (loud, quiet)
    )
    assert found.mean == pytest.approx(expected.mean, abs=0.1)
