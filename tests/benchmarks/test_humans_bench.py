"""The bench of ratings by real people."""

from __future__ import annotations

import numpy as np
import pytest

from storage.words import count_words
from tests.benchmarks.humans import BEGINNING, Rated, live, read_chats, read_ratings, run, split, summary_of


def made_up(count: int = 200) -> Rated:
    """Return two answers to each of half as many messages; those that ask something are liked."""
    endings = ("What do you think of it?", "That is all there is.", "And you, would you go there?", "It rains today.")
    texts = [f"The house of {number} has windows and a door. {endings[number % 4]}" for number in range(count)]
    is_liked = [text.endswith("?") for text in texts]
    return Rated.measure([str(number // 2) for number in range(count)], texts, is_liked, (1.0, 0.0))


def test_a_clear_taste_is_learned_and_acts() -> None:
    row = live(made_up(), 40, seed=0)
    assert row["auc"] > 0.9
    assert row["lift"] > 0.2
    assert row["chooses"]
    assert row["teaches"]


def test_no_text_and_no_message_is_voted_on_and_judged() -> None:
    rated = made_up()
    repeated = Rated(rated.about, (rated.texts[0],) * 40 + rated.texts[40:], rated.measures, rated.is_liked)
    for seed in range(5):
        seen, unseen = split(repeated, np.random.default_rng(seed))
        assert len(seen) > 50
        assert len(unseen) > 50
        for known in (repeated.texts, repeated.about):
            assert not {known[place] for place in seen} & {known[place] for place in unseen}


def test_the_summary_tells_what_is_lost_where_the_taste_does_not_act() -> None:
    rows = [
        {
            "data": "made",
            "votes": votes,
            "auc": 0.6,
            "lift": lift,
            "chooses": chooses,
            "teaches": chooses and votes > 40,
        }
        for votes in (40, 160, 640)
        for lift, chooses in ((0.3, True), (-0.1, False))
    ]
    summary = summary_of(rows)
    assert (summary["made_auc_40"], summary["made_acts_share_160"]) == (0.6, 0.5)
    assert summary["made_lift_160"] == pytest.approx(0.1)
    assert summary["made_lift_where_it_does_not_act"] == pytest.approx(-0.1)
    assert summary["made_lift_where_it_does_not_teach"] == pytest.approx(0.0)
    assert summary_of(rows[::2])["made_lift_where_it_does_not_act"] is None, "each of these acts"


def test_ratings_of_real_people_are_read() -> None:
    pytest.importorskip("chitchat_dataset")
    chats = read_chats()
    assert len(chats) == 2_255
    assert all(1 <= rating <= 10 for _, rating in chats)


@pytest.mark.bench
def test_it_runs() -> None:
    pytest.importorskip("chitchat_dataset")
    assert max(map(count_words, read_ratings()["chitchat"].texts)) <= BEGINNING
    summary = run(servers=8)["summary"]
    assert summary["chitchat_auc_640"] > summary["chitchat_auc_40"] > 0.5
    assert summary["no_taste_lift_160"] == pytest.approx(0, abs=0.02)
    assert summary["rule_short_lift_160"] > 0.2
