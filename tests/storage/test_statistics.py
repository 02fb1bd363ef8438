"""Intervals of the share of 👍, and evidence that may be looked at after every choice."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.statistics import DECISIVE, FRACTIONS, bets_left, could_decide, e_value, wilson_interval


def test_known_values() -> None:
    # Newcombe 1998, table I: 81 of 263 gives 0.2553 to 0.3662.
    assert wilson_interval(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson_interval(0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)
    assert wilson_interval(0, 0) == (0.0, 1.0)


@given(st.integers(0, 10_000), st.integers(0, 10_000))
def test_it_contains_the_share_and_stays_within_0_and_1(up: int, down: int) -> None:
    low, high = wilson_interval(up, up + down)
    assert 0.0 <= low <= high <= 1.0
    if up + down:
        assert low - 1e-12 <= up / (up + down) <= high + 1e-12


# E-values


def test_e_values_by_hand() -> None:
    assert e_value([]) == 1
    assert e_value([1]) == pytest.approx((1.3 + 1.5 + 1.7) / 3)
    assert e_value([1, -0.5]) == pytest.approx((1.3 * 0.85 + 1.5 * 0.75 + 1.7 * 0.65) / 3)


@pytest.mark.parametrize("stakes", [(1, 1, 1, 1, 1, 1), (0.1, 1, 0.5, 0.25, 1, 0.7)])
def test_between_equals_its_mean_is_1_whatever_the_stakes(stakes: tuple[float, ...]) -> None:
    outcomes = [
        e_value([s * side for s, side in zip(stakes, sides, strict=True)]) for sides in product((1, -1), repeat=6)
    ]
    assert sum(outcomes) / len(outcomes) == pytest.approx(1)


@given(st.lists(st.floats(-1, 1), max_size=50))
def test_both_directions_are_never_decided_at_once(bets: list[float]) -> None:
    assert min(e_value(bets), e_value([-bet for bet in bets])) < DECISIVE


def test_a_thousand_wins_are_a_number() -> None:
    assert DECISIVE < e_value([1] * 3_000) < math.inf
    assert 0 <= e_value([-1] * 3_000) < 1e-9


def test_the_estimate_comes_true_if_people_choose_on_as_they_did() -> None:
    rhythm = [1.0, 1.0, -1.0, 1.0]  # three wins for each loss
    left = bets_left(rhythm * 3)
    needed = next(n for n in range(200) if e_value(rhythm * 3 + (rhythm * 50)[:n]) >= DECISIVE)
    assert left == pytest.approx(needed, abs=len(rhythm)), "the last bet of a rhythm may decide, or the first"


@pytest.mark.parametrize("bets", [[], [1, -1], [-1, -1, 1]])
def test_without_a_lead_there_is_no_estimate(bets: list[float]) -> None:
    assert bets_left(bets) is None


@pytest.mark.parametrize(
    ("bets", "needed"),
    [([], 7), ([1, -1], 12), ([1, -1] * 10, 64), ([1] * 4, 3), ([-1] * 4, 3), ([1, 1, -1] * 5, 12)],
)
def test_the_bets_to_come_may_be_as_one_sided_as_those_so_far_allow(bets: list[float], needed: int) -> None:
    assert next(more for more in range(1_000) if could_decide(bets, more)) == needed


# Simulations: what a server of people would see, with a look after every pair

SHOWN = 26 * 20
"""Half a year with twenty pairs a week."""


def running(outcomes: npt.NDArray[np.int64], side: int) -> npt.NDArray[np.float64]:
    """Return the e-value of each run (rows) after each pair (columns); an outcome of 0 decides nothing."""
    return np.mean([np.cumprod(1 + fraction * side * outcomes, axis=1) for fraction in FRACTIONS], axis=0)


def look(outcomes: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Return after how many shown pairs each run is ready; infinity if it is dropped first, or never."""
    ready, dropped = (running(outcomes, side) >= DECISIVE for side in (1, -1))
    first_ready, first_dropped = (
        np.where(found.any(axis=1), found.argmax(axis=1) + 1, math.inf) for found in (ready, dropped)
    )
    return np.where(first_ready < first_dropped, first_ready, math.inf)


def test_the_simulated_e_value_is_the_real_one() -> None:
    outcomes = np.array([[1, 0, -1, 1, 1, -1, 0, 1]])
    assert running(outcomes, 1)[0, -1] == pytest.approx(e_value([1, -1, 1, 1, -1, 1]))


def pairs(before: float, after: float, runs: int, shown: int, seed: int) -> npt.NDArray[np.int64]:
    """Draw choices of people who like `before` of the champion's answers and `after` of the version's.

    They choose only where they like one of the two and not the other, and pick the wrong one in a tenth of cases.
    """
    rng = np.random.default_rng(seed)
    chosen = (rng.random((runs, shown)) < after).astype(int) - (rng.random((runs, shown)) < before)
    return chosen * np.where(rng.random((runs, shown)) < 0.1, -1, 1)


@pytest.mark.parametrize(
    ("before", "after", "decided", "shown"),
    [(0.18, 0.81, 0.70, 14), (0.57, 0.88, 0.45, 34), (0.50, 0.73, 0.50, 72)],
    ids=["question", "calm", "warm"],
)
def test_a_better_version_is_ready_after_as_few_pairs_as_promised(
    before: float, after: float, decided: float, shown: int
) -> None:
    outcomes = pairs(before, after, runs=2_000, shown=SHOWN, seed=1)
    assert np.mean(outcomes != 0) == pytest.approx(decided, abs=0.02)
    ready = look(outcomes)
    assert np.median(ready) == pytest.approx(shown, rel=0.15)
    assert np.mean(np.isinf(ready)) < 0.1


def test_coin_flips_are_hardly_ever_ready() -> None:
    ready = look(pairs(0.5, 0.5, runs=4_000, shown=SHOWN, seed=2))
    assert np.mean(np.isfinite(ready)) <= 0.05


def test_a_worse_version_is_dropped() -> None:
    worse = pairs(0.73, 0.50, runs=1_000, shown=SHOWN, seed=3)
    assert np.mean((running(worse, -1) >= DECISIVE).any(axis=1)) > 0.9
    assert np.mean(np.isfinite(look(worse))) < 0.01
