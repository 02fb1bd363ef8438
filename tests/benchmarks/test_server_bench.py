"""A small server in weeks: what the loop must do there, with a stand-in for the policy."""

from __future__ import annotations

import pytest

from tests.benchmarks.server import Life, Profile, live, profile_of, summary_of


def test_a_small_server_gets_a_version_that_people_prefer_within_weeks() -> None:
    """Ten members, 40 votes a week, mostly 👍, and nobody opted in."""
    life = live(profile_of("small", "question"), weeks=6, seed=1)
    assert life.ready_week is not None
    assert life.promotions >= 1
    assert life.harmful == 0
    assert life.gains[-1] > life.gains[0] > 0, "the candidates help from the first week on, and a version helps more"


def test_votes_without_a_taste_promote_nothing() -> None:
    life = live(profile_of("small", "random"), weeks=4, seed=2)
    assert (life.ready_week, life.promotions) == (None, 0)


def test_a_silent_server_changes_nothing() -> None:
    silent = Profile(10, 100, 0.0, 0.85, 0.0, 0.1, profile_of("small", "warm").taste)
    life = live(silent, weeks=2, seed=0)
    assert life.ready_week is None
    assert life.gains == pytest.approx((0.0, 0.0), abs=0.2)


def test_the_summary_counts_servers_that_never_got_a_version_as_one_week_too_many() -> None:
    lives = [Life(2, (0.1, 0.2), 1, 0), Life(None, (0.0, 0.1), 0, 0), Life(None, (0.2, 0.3), 1, 1)]
    summary = summary_of(lives, weeks=2)
    assert summary["weeks_to_ready_median"] == 3
    assert summary["utility_gain_week_1"] == pytest.approx(0.1)
    assert (summary["promotions"], summary["harmful_promotions_share"]) == (2, 0.5)
    assert summary["promoted_share"] == pytest.approx(2 / 3)
