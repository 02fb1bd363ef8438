"""What choosing among candidates gains, as the votes show."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.settings.sections import VoteSettings
from storage.taste.gain import CandidateChoice, ShownVote, estimate_gain, read_gain, record_choice
from storage.votes.votes import Vote
from tests.seeding import ALICE, BOB, add_reply, vote

EXPLORATION, CANDIDATES = 0.2, 4


def simulate(votes, likes_best, likes_others, seed):
    """Return votes on answers that are shown as the bot shows them."""
    chance, found = random.Random(seed), []
    for _ in range(votes):
        explores = chance.random() < EXPLORATION
        is_best = not explores or chance.random() < 1 / CANDIDATES
        liked = chance.random() < (likes_best if is_best else likes_others)
        propensity = EXPLORATION / CANDIDATES + (1 - EXPLORATION if is_best else 0)
        found.append(ShownVote(liked, 1 / CANDIDATES, is_best, propensity))
    return found


def test_both_rules_are_estimated_from_the_same_votes():
    gain = estimate_gain(simulate(20_000, 0.9, 0.5, seed=1))
    assert gain.chosen == pytest.approx(0.9, abs=0.02)
    assert gain.random == pytest.approx(0.25 * 0.9 + 0.75 * 0.5, abs=0.03)
    assert gain.is_certain


def test_without_a_difference_chance_is_seldom_taken_for_one():
    certain = [estimate_gain(simulate(200, 0.7, 0.7, seed)).is_certain for seed in range(200)]
    assert sum(certain) <= 30  # 5 % expected, and some more with few votes on random answers


@given(st.lists(st.tuples(st.booleans(), st.booleans(), st.floats(0.1, 1.0), st.floats(0.01, 1.0)), max_size=20))
def test_any_votes_give_shares_or_nothing(rows):
    gain = estimate_gain([ShownVote(liked, share, best, propensity) for liked, best, share, propensity in rows])
    assert gain is None or (0 <= gain.chosen <= 1 + 1e-9 and 0 <= gain.random <= 1 + 1e-9)


def test_only_answers_with_candidates_count(session):
    chosen, explored, alone = (add_reply(session, answer=text) for text in ("a", "b", "c"))
    record_choice(session, chosen, CandidateChoice((0.1, 0.9), shown=1, propensity=0.9))
    record_choice(session, explored, CandidateChoice((0.1, 0.9), shown=0, propensity=0.1))
    for reply_id, said in ((chosen, Vote.UP), (explored, Vote.DOWN), (alone, Vote.UP)):
        vote(session, reply_id, ALICE, said)
    vote(session, chosen, BOB, Vote.UP)
    gain = read_gain(session, 1, VoteSettings(account_age_days=0, membership_days=0))
    assert (gain.votes, gain.chosen) == (3, 1.0)
    assert gain.random < 1


def test_equal_candidates_are_one_action(session):
    """Shown by chance, the second of two equal best ones would else count twenty times as much as the first."""
    for shown in (0, 1):
        reply = add_reply(session, answer="ok")
        record_choice(session, reply, CandidateChoice((0.9, 0.9, 0.1, 0.1), shown=shown, propensity=0.925))
        vote(session, reply, ALICE, Vote.UP if shown else Vote.DOWN)
    worse = add_reply(session, answer="no")
    record_choice(session, worse, CandidateChoice((0.9, 0.9, 0.1, 0.1), shown=2, propensity=0.075))
    vote(session, worse, ALICE, Vote.DOWN)
    gain = read_gain(session, 1, VoteSettings(account_age_days=0, membership_days=0))
    assert gain.chosen == pytest.approx(0.5)
    best, other = 0.5 / 0.925, 0.5 / 0.075
    assert gain.random == pytest.approx(best / (2 * best + other))


def test_without_candidates_there_is_nothing_to_tell(session):
    vote(session, add_reply(session), ALICE, Vote.UP)
    assert read_gain(session, 1, VoteSettings()) is None
