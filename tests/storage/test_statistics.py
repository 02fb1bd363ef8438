"""Intervals of the share of 👍, and the sequential test."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import product

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import betaln, xlogy

from storage.releases.canary_votes import Trial
from storage.statistics import Approval, PreferredSide, compare_approval, log_evidence, wilson_interval


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


ALPHA = 0.05
RUNS = 2_000
LOOKS = 400

Counts = npt.NDArray[np.float64]

counts = st.integers(0, 500) | st.floats(0.01, 500)
approvals = st.builds(Approval, up=counts, down=counts)


# Small counts


@pytest.mark.parametrize(
    ("first", "second", "evidence"),
    [
        # Uniform mixtures: B(1, 1) B(1, 1) = 1, over a likelihood of 1.
        (Approval(), Approval(), 1.0),
        # B(4, 1) B(1, 4) = 1/16; the best common chance is 1/2, its likelihood 1/64.
        (Approval(3, 0), Approval(0, 3), 64 / 16),
        # The other way round the votes are what the hypothesis says: likelihood 1.
        (Approval(0, 3), Approval(3, 0), 1 / 16),
        # B(2, 2) B(1, 3) = 1/6 * 1/3; the common chance is 1/4, its likelihood 1/4 * (3/4)^3.
        (Approval(1, 1), Approval(0, 2), (1 / 18) / (27 / 256)),
        # Equal shares: chances of 1/2 and 1/2 are allowed, likelihood 1/16.
        (Approval(1, 1), Approval(1, 1), (1 / 36) / (1 / 16)),
        # One side alone says nothing.
        (Approval(1, 0), Approval(), 0.5),
        # Half a vote: B(3/2, 1) = 2/3, over a likelihood of 1.
        (Approval(0.5, 0), Approval(), 2 / 3),
        # Half a vote for each: B(3/2, 1) B(1, 3/2) = 4/9; the common chance is 1/2, its likelihood 1/2.
        (Approval(0.5, 0), Approval(0, 0.5), (4 / 9) / (1 / 2)),
    ],
)
def test_evidence_is_the_mixture_over_the_best_that_the_hypothesis_can_do(
    first: Approval, second: Approval, evidence: float
) -> None:
    assert math.exp(log_evidence(first, second)) == pytest.approx(evidence)


def test_each_direction_needs_half_of_alpha() -> None:
    assert compare_approval(Approval(), Approval(), alpha=0.05).needed == 40


@pytest.mark.parametrize(
    ("challenger", "champion", "preferred"),
    [
        (Approval(30, 0), Approval(10, 20), PreferredSide.CHALLENGER),
        (Approval(10, 20), Approval(30, 0), PreferredSide.CHAMPION),
        (Approval(20, 10), Approval(18, 12), None),
        (Approval(0, 0), Approval(400, 100), None),
        (Approval(0, 12), Approval(60, 40), PreferredSide.CHAMPION),  # a challenger that only fails
        (Approval(100_000, 0), Approval(0, 100_000), PreferredSide.CHALLENGER),
    ],
)
def test_the_preferred_side(challenger: Approval, champion: Approval, preferred: PreferredSide | None) -> None:
    assert compare_approval(challenger, champion, ALPHA).preferred is preferred


# Any counts


@given(approvals, approvals)
def test_the_two_directions_mirror_each_other(one: Approval, other: Approval) -> None:
    forth, back = compare_approval(one, other, ALPHA), compare_approval(other, one, ALPHA)
    assert (forth.better, forth.worse) == (back.worse, back.better)


@given(approvals, approvals)
def test_swapped_thumbs_swap_the_result(one: Approval, other: Approval) -> None:
    turned = log_evidence(Approval(other.down, other.up), Approval(one.down, one.up))
    assert turned == pytest.approx(log_evidence(one, other), abs=1e-6)


@given(approvals, approvals)
def test_no_evidence_for_what_the_votes_do_not_even_suggest(one: Approval, other: Approval) -> None:
    if one.share <= other.share:
        assert log_evidence(one, other) <= 1e-9


@given(approvals, approvals)
def test_both_directions_are_never_decided_at_once(one: Approval, other: Approval) -> None:
    comparison = compare_approval(one, other, ALPHA)
    assert min(comparison.better, comparison.worse) <= 1 + 1e-9


@given(st.integers(1, 8), st.integers(1, 8), st.floats(0.0, 1.0), st.floats(0.0, 1.0))
def test_evidence_is_at_most_one_on_average_while_the_challenger_is_not_better(
    votes: int, champion_votes: int, p: float, q: float
) -> None:
    worse, better = sorted((p, q))
    mean = sum(
        chance(up, votes, worse) * chance(other, champion_votes, better) * math.exp(log_evidence(first, second))
        for up, first in enumerate(every_approval(votes))
        for other, second in enumerate(every_approval(champion_votes))
    )
    assert mean <= 1 + 1e-9


weights = st.lists(st.floats(0.01, 1.0), min_size=1, max_size=4)


@given(weights, weights, st.floats(0.0, 1.0), st.floats(0.0, 1.0))
def test_nor_do_votes_that_weigh_less_make_evidence_of_nothing(
    votes: list[float], champion_votes: list[float], p: float, q: float
) -> None:
    worse, better = sorted((p, q))
    mean = sum(
        likely * other_likely * math.exp(log_evidence(first, second))
        for likely, first in outcomes(votes, worse)
        for other_likely, second in outcomes(champion_votes, better)
    )
    assert mean <= 1 + 1e-9


def outcomes(weights: list[float], p: float) -> list[tuple[float, Approval]]:
    """Return all that votes of these weights can say, with its probability where each is a 👍 with chance p."""
    return [
        (
            math.prod(p if is_up else 1 - p for is_up in said),
            Approval(
                sum(w for w, is_up in zip(weights, said, strict=True) if is_up),
                sum(w for w, is_up in zip(weights, said, strict=True) if not is_up),
            ),
        )
        for said in product((True, False), repeat=len(weights))
    ]


def every_approval(votes: int) -> list[Approval]:
    return [Approval(up, votes - up) for up in range(votes + 1)]


def chance(up: int, votes: int, p: float) -> float:
    return math.comb(votes, up) * p**up * (1 - p) ** (votes - up)


# Tested after every vote


def log_evidences(up: Counts, down: Counts, other_up: Counts, other_down: Counts) -> npt.NDArray[np.float64]:
    """Return `log_evidence` of many counts at once, computed differently."""

    def fit(successes: Counts, failures: Counts) -> npt.NDArray[np.float64]:
        votes = successes + failures
        share = successes / np.where(votes > 0, votes, 1)
        return np.asarray(xlogy(successes, share) + xlogy(failures, 1 - share))

    mixture = betaln(1 + up, 1 + down) + betaln(1 + other_up, 1 + other_down)
    apart, together = fit(up, down) + fit(other_up, other_down), fit(up + other_up, down + other_down)
    allowed = up * (other_up + other_down) <= other_up * (up + down)
    return np.asarray(mixture - np.where(allowed, apart, together))


@given(approvals, approvals)
def test_the_simulated_comparison_is_the_real_one(one: Approval, other: Approval) -> None:
    arrays = (np.array([count]) for count in (one.up, one.down, other.up, other.down))
    assert log_evidences(*arrays)[0] == pytest.approx(log_evidence(one, other), abs=1e-6)


def in_full(up: npt.NDArray[np.bool_]) -> Counts:
    return np.ones(up.shape)


def by_age(up: npt.NDArray[np.bool_]) -> Counts:
    """Every third vote is an old member's, the others are of all ages."""
    random = np.random.default_rng(8)
    return np.where(random.random(up.shape) < 1 / 3, 1.0, random.random(up.shape))


def by_what_was_said_before(up: npt.NDArray[np.bool_]) -> Counts:
    """Old members vote when the share is high, new ones when it is low."""
    balance = np.cumsum(np.where(up, 1, -1), axis=1)
    return np.where(np.roll(balance, 1, axis=1) > 0, 1.0, 0.2)


Weights = Callable[[npt.NDArray[np.bool_]], Counts]


def decisions(challenger: float, champion: float, *, share: float, weigh: Weights = in_full) -> tuple[float, float]:
    """Return how often 400 votes, looked at after each, say that the challenger is better, and that it is worse."""
    random = np.random.default_rng(7)
    tried = random.random((RUNS, LOOKS)) < share
    up = random.random((RUNS, LOOKS)) < np.where(tried, challenger, champion)
    weights = weigh(up)
    first = [np.cumsum(votes * weights, axis=1) for votes in (tried & up, tried & ~up)]
    second = [np.cumsum(votes * weights, axis=1) for votes in (~tried & up, ~tried & ~up)]
    needed = math.log(compare_approval(Approval(), Approval(), ALPHA).needed)
    better, worse = log_evidences(*first, *second) >= needed, log_evidences(*second, *first) >= needed
    return float(np.mean(decided_first(better, worse))), float(np.mean(decided_first(worse, better)))


def decided_first(one: npt.NDArray[np.bool_], other: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Return which runs reach one decision without reaching the other before."""

    def look(decided: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
        return np.where(decided.any(axis=1), decided.argmax(axis=1), LOOKS)

    return np.asarray(look(one) < look(other))


@pytest.mark.parametrize("approval", [0.5, 0.9])
@pytest.mark.parametrize("share", [0.5, 0.1])
@pytest.mark.parametrize("weigh", [in_full, by_age, by_what_was_said_before])
def test_equally_liked_versions_differ_at_most_as_often_as_alpha(approval: float, share: float, weigh: Weights) -> None:
    better, worse = decisions(approval, approval, share=share, weigh=weigh)
    assert better + worse <= ALPHA


def failing(failures: float, other_failures: float) -> tuple[float, float]:
    """Return the same where votes weigh 0.1 on the challenger and 1 on the champion, and so many answers fail."""
    random = np.random.default_rng(7)
    tried = random.random((RUNS, LOOKS)) < 0.5
    failed = random.random((RUNS, LOOKS)) < np.where(tried, failures, other_failures)
    up = ~failed & (random.random((RUNS, LOOKS)) < 0.9)

    def side(mine: npt.NDArray[np.bool_], weight: float) -> tuple[Counts, Counts]:
        good, bad, broken = (np.cumsum(mine & which, axis=1) for which in (up, ~up & ~failed, failed))
        trial = Trial(up=good * weight, down=bad * weight, given=good + bad, failures=broken)  # type: ignore[arg-type]
        return trial.approval.up, trial.approval.down  # type: ignore[return-value]

    first, second = side(tried, 0.1), side(~tried, 1.0)
    needed = math.log(compare_approval(Approval(), Approval(), ALPHA).needed)
    better, worse = log_evidences(*first, *second) >= needed, log_evidences(*second, *first) >= needed
    return float(np.mean(decided_first(better, worse))), float(np.mean(decided_first(worse, better)))


@pytest.mark.parametrize("failures", [0.05, 0.3])
def test_failures_tell_no_equal_versions_apart_where_voters_of_one_are_new(failures: float) -> None:
    better, worse = failing(failures, failures)
    assert better + worse <= ALPHA


def test_a_version_that_fails_more_often_is_found_from_new_voters_too() -> None:
    better, worse = failing(0.8, 0.05)
    assert better == 0
    assert worse >= 0.9


def test_a_clear_difference_is_found_and_never_the_wrong_way_round() -> None:
    better, worse = decisions(0.75, 0.55, share=0.5)
    assert 0.55 <= better <= 0.7
    assert worse == 0
    assert decisions(0.85, 0.45, share=0.5)[0] >= 0.99


def test_a_clear_difference_is_found_from_lighter_votes_too() -> None:
    better, worse = decisions(0.85, 0.45, share=0.5, weigh=by_age)
    assert better >= 0.9
    assert worse == 0


def test_a_challenger_that_only_fails_is_found_soon_though_it_answers_a_tenth() -> None:
    assert compare_approval(Approval(0, 9), Approval(54, 27), ALPHA).preferred is PreferredSide.CHAMPION
    assert decisions(0.0, 0.6, share=0.1)[1] >= 0.99
