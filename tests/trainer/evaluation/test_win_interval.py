from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from trainer.evaluation.gate import HeldOut, WinInterval, win_interval

CONFIDENCE = 0.95
SIZES = (8, 15, 30, 60)
WON, DRAWN, LOST = 0.3, 0.0, -0.2


@cache
def interval(won: int, lost: int, drawn: int = 0) -> WinInterval:
    margins = [WON] * won + [LOST] * lost + [DRAWN] * drawn
    return win_interval([HeldOut(f"prompt {i}", margin, 1.0) for i, margin in enumerate(margins)], CONFIDENCE, seed=17)


def test_few_wins_without_a_loss_are_not_called_certain():
    # Clopper and Pearson's lower end is the share that wins all n with probability 2.5 %: 0.025 ** (1 / 8).
    assert interval(8, 0) == WinInterval(1.0, pytest.approx(0.025 ** (1 / 8)), 1.0)
    assert interval(0, 8) == WinInterval(0.0, 0.0, pytest.approx(1 - 0.025 ** (1 / 8)))


@pytest.mark.parametrize(("won", "lost", "is_better"), [(8, 0, True), (7, 1, False), (14, 1, True), (9, 6, False)])
def test_few_comparisons_count_as_better_only_if_clear(won, lost, is_better):
    assert (interval(won, lost).low > 0.5) == is_better
    assert (interval(lost, won).high < 0.5) == is_better


def test_draws_are_half_a_win():
    found = interval(0, 0, drawn=20)
    assert found.share == 0.5
    assert found.low < 0.5 < found.high


def test_pairs_of_one_prompt_count_once():
    one_prompt = [HeldOut("the same", WON, 1.0)] * 30
    assert win_interval(one_prompt, CONFIDENCE, seed=17).low == pytest.approx(0.025)


def test_pairs_of_no_weight_do_not_count():
    weightless = [HeldOut(f"weightless {i}", LOST, 0.0) for i in range(8)]
    pairs = [HeldOut(f"prompt {i}", WON, 1.0) for i in range(8)]
    assert win_interval([*pairs, *weightless], CONFIDENCE, seed=17) == interval(8, 0)


def test_one_heavy_pair_is_worth_little_more_than_one_trial():
    pairs = [HeldOut("heavy", WON, 100.0), *(HeldOut(f"light {i}", WON, 0.1) for i in range(20))]
    assert win_interval(pairs, CONFIDENCE, seed=17).low < 0.1


def test_equal_seeds_give_equal_intervals():
    pairs = [HeldOut(f"prompt {i}", WON if i % 3 else LOST, 1.0 + i % 2) for i in range(40)]
    assert win_interval(pairs, CONFIDENCE, seed=3) == win_interval(pairs, CONFIDENCE, seed=3)


@given(st.lists(st.tuples(st.integers(0, 9), st.sampled_from([LOST, DRAWN, WON]), st.floats(0.1, 5)), min_size=1))
def test_interval_holds_the_share(rows):
    found = win_interval([HeldOut(str(prompt), margin, weight) for prompt, margin, weight in rows], CONFIDENCE, seed=1)
    assert 0.0 <= found.low <= found.share + 1e-9
    assert found.share - 1e-9 <= found.high <= 1.0


@pytest.mark.parametrize("size", SIZES)
def test_random_votes_are_called_better_in_at_most_one_case_of_forty(size):
    """Exact: every number of wins, times its probability under a fair coin."""
    called_better = [won for won in range(size + 1) if interval(won, size - won).low > 0.5]
    assert binom.pmf(called_better, size, 0.5).sum() <= 0.025
    called_worse = [won for won in range(size + 1) if interval(won, size - won).high < 0.5]
    assert binom.pmf(called_worse, size, 0.5).sum() <= 0.025


@pytest.mark.parametrize("size", SIZES)
def test_random_votes_of_several_weights_on_shared_prompts_are_rarely_called_better(size):
    random = np.random.default_rng(17)
    called_better = sum(
        win_interval(_random_votes(random, size), CONFIDENCE, seed=draw).low > 0.5 for draw in range(400)
    )
    assert called_better / 400 < 0.04


def _random_votes(random: np.random.Generator, size: int) -> list[HeldOut]:
    """Pairs of one prompt agree, which is the worst case."""
    better = random.random(size) < 0.5
    prompts = random.integers(0, 2 * size // 3, size)
    weights = random.choice([0.5, 1.0, 2.0], size)
    return [HeldOut(str(p), WON if better[p] else LOST, float(w)) for p, w in zip(prompts, weights, strict=True)]
