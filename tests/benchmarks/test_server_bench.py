"""A small server in weeks: what the loop must do there, with a stand-in for the model."""

from __future__ import annotations

import random
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from bot.demo.community import warm
from storage.database.database import open_database
from storage.settings.sections import DataSettings, Settings
from tests.benchmarks.server import Life, Profile, UnknownProfile, live, profile_of, run, summary_of
from tests.benchmarks.server_policies import PLAIN_ANSWERS, SERVED_ANSWERS, StandIn, stored_answers

pytestmark = pytest.mark.slow

VILLAGE = profile_of("village", "warm")
"""Five votes a week."""
OWN_WORD = "tests.benchmarks.unseen_tastes:own_word"


def test_a_small_server_gets_a_version_that_people_prefer_within_weeks() -> None:
    """Ten members, 40 votes a week, mostly 👍, nobody opted in, and an admin who labels 40 pairs on day one."""
    life = live(profile_of("small", "question"), weeks=3, seed=0, sitting=True)
    assert life.ready_week is not None
    assert life.promotions >= 1
    assert life.harmful == 0
    assert life.gains[-1] > life.gains[0] > 0, "the candidates help from the first week on, and a version helps more"


def test_where_few_members_choose_the_admin_who_taught_a_version_also_decides() -> None:
    life = live(profile_of("village", "question"), weeks=1, seed=0, sitting=True)
    first, *_ = life.versions
    assert (first.ended, first.decided_by) == ("promoted", "admin")
    assert first.utility > 0.7, "it is shown no examples, beside which the base seldom ends with a question"
    assert first.admin.won > first.admin.lost
    assert first.admin.e_value >= 20
    assert first.members.e_value < 20
    for version in life.versions:
        assert version.admin.won + version.admin.tied + version.admin.lost <= 30


def test_a_taste_may_depend_on_the_message() -> None:
    life = live(profile_of("village", OWN_WORD), weeks=1, seed=0, sitting=True)
    assert all(0.2 < version.utility < 0.9 for version in life.versions)


def test_answers_to_choose_between_are_to_one_message_and_half_of_those_that_teach_are_plain(
    tmp_path: Path,
) -> None:
    settings, chance = Settings(data=DataSettings(directory=tmp_path)), random.Random(0)
    with closing(open_database(settings)) as database:
        policy = StandIn(database, settings, 1)
    message = policy.messages(is_judged=False)[1]
    served, plain = (stored_answers(path)[message] for path in (SERVED_ANSWERS, PLAIN_ANSWERS))
    assert set(policy.draw(None, message, 4, chance)) == set(served)
    taught = policy.draw_to_teach(message, chance)
    assert [(one in plain, one in served) for one in taught] == [(True, False)] * 2 + [(False, True)] * 2
    assert {one.message for one in taught} == {message}
    assert len(set(taught)) == 4


def test_every_version_has_a_row_that_says_how_it_ended() -> None:
    """Nobody labels, and the base seldom asks: the first version learns little, and a later one of more votes does."""
    life = live(profile_of("small", "question"), weeks=4, seed=0)
    first, second, *_, last = life.versions
    assert (first.version, first.ended, first.decided_by) == ("v1", "replaced", None)
    assert (second.version, second.ended, second.decided_by) == ("v2", "promoted", "members")
    assert life.ready_week == 4
    assert second.utility > second.utility_before
    for version in (first, second):
        assert version.shown >= version.members.won + version.members.tied + version.members.lost > 0
    assert last.votes > second.votes > first.votes
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
    assert life.promotions >= 1
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


def test_a_row_has_a_column_for_each_number_of_members_and_admin() -> None:
    found = run(profile="village", weeks=1, seeds=1, sitting=True)
    first = found["rows"][0]
    assert first["version"] == "v1"
    assert {f"{who}_{what}" for who in ("members", "admin") for what in ("won", "tied", "lost", "e_value")} < set(first)


def test_equal_seeds_give_equal_lives() -> None:
    lives = [live(VILLAGE, weeks=2, seed=3) for _ in range(2)]
    assert lives[0] == lives[1]


def test_a_profile_can_come_from_a_module() -> None:
    assert profile_of(f"{__name__}:VILLAGE", "calm") == VILLAGE
    for name in ("tiny", "nowhere:VILLAGE", f"{__name__}:TOWN", f"{__name__}:warm"):
        with pytest.raises(UnknownProfile, match="choose village, small, medium, large, or write module:object"):
            profile_of(name, "calm")


def test_the_models_own_answers_take_the_place_of_stored_ones_and_say_how_well_they_fit(tiny: None) -> None:
    life = live(profile_of("village", "random"), weeks=1, seed=0, real=True, sitting=True)
    shares = [share for version in life.versions for share in (version.fit_share, version.fit_share_before)]
    assert shares
    assert all(share is not None and 0 <= share <= 1 for share in shares)
