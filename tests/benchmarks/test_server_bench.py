"""A small server in weeks: what the loop must do there, with a stand-in for the model."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bot.demo.community import warm
from tests.benchmarks.server import Life, Profile, UnknownProfile, live, profile_of, summary_of

pytestmark = pytest.mark.slow

VILLAGE = replace(profile_of("small", "warm"), members=4, answers_per_week=33)
"""Five votes a week."""


def test_a_small_server_gets_a_version_that_people_prefer_within_weeks() -> None:
    """Ten members, 40 votes a week, mostly 👍, nobody opted in, and an admin who labels 40 pairs on day one."""
    life = live(profile_of("small", "question"), weeks=3, seed=0, sitting=True)
    assert life.ready_week is not None
    assert life.promotions >= 1
    assert life.harmful == 0
    assert life.gains[-1] > life.gains[0] > 0, "the candidates help from the first week on, and a version helps more"


def test_every_version_has_a_row_that_says_how_it_ended() -> None:
    """Nobody labels: a version is made from the first votes and choices, and people compare it until it is promoted."""
    life = live(profile_of("small", "question"), weeks=2, seed=0)
    first, *_, last = life.versions
    assert (first.version, first.ended) == ("v1", "promoted")
    assert life.ready_week == 2
    assert first.utility > first.utility_before
    assert first.shown >= first.won + first.tied + first.lost > 0
    assert last.votes > first.votes
    assert last.ended in ("waits", "replaced", "promoted", "dropped")


def test_votes_without_a_taste_promote_nothing_in_any_of_many_rounds() -> None:
    life = live(profile_of("small", "random"), weeks=3, seed=2)
    assert (life.ready_week, life.promotions) == (None, 0)
    assert {one.utility for one in life.versions} <= {0.5}


def test_a_village_with_five_votes_a_week_keeps_them_until_they_say_something() -> None:
    life = live(replace(VILLAGE, regenerate_share=0.0, suggest_share=0.0), weeks=10, seed=0)
    assert life.votes > 30, "30 days of retention would leave about twenty"
    assert sum(life.gains[5:]) > 0


def test_members_who_suggest_answers_and_pick_in_arenas_do_not_end_the_progress() -> None:
    busy = replace(profile_of("small", "question"), suggest_share=0.1, opt_in_share=1.0, arena_per_week=2)
    life = live(busy, weeks=2, seed=0)
    assert life.gains[-1] > 0.3
    assert life.versions[-1].won > life.versions[-1].lost
    assert life.harmful == 0


def test_choices_alone_teach_a_server_that_never_votes() -> None:
    silent = Profile(10, 100, 0.0, 0.85, 0.0, 0.0, 0.0, 0.0, 0.1, warm)
    life = live(silent, weeks=2, seed=0)
    assert life.gains[0] == pytest.approx(0.0, abs=0.2)
    assert life.gains[1] > life.gains[0]
    assert life.harmful == 0


def test_the_summary_counts_servers_that_never_got_a_version_as_one_week_too_many() -> None:
    lives = [Life(2, (0.1, 0.2), 1, 0, 10, 5), Life(None, (0.0, 0.1), 0, 0), Life(None, (0.2, 0.3), 1, 1, 10, 0)]
    summary = summary_of(lives, weeks=2)
    assert summary["weeks_to_ready_median"] == 3
    assert summary["ready_within_4_weeks_share"] == pytest.approx(1 / 3)
    assert summary["utility_gain_week_1"] == pytest.approx(0.1)
    assert (summary["promotions"], summary["harmful_promotions_share"]) == (2, 0.5)
    assert summary["promoted_share"] == pytest.approx(2 / 3)
    assert summary["questions_left_unanswered"] == 0.25


def test_equal_seeds_give_equal_lives() -> None:
    lives = [live(VILLAGE, weeks=2, seed=3) for _ in range(2)]
    assert lives[0] == lives[1]


def test_a_profile_can_come_from_a_module() -> None:
    assert profile_of(f"{__name__}:VILLAGE", "calm") == VILLAGE
    for name in ("tiny", "nowhere:VILLAGE", f"{__name__}:TOWN", f"{__name__}:warm"):
        with pytest.raises(UnknownProfile, match="choose small, medium, large, or write module:object"):
            profile_of(name, "calm")
