"""From votes and corrections to pairs: what the posterior says, and what is left alone."""

from __future__ import annotations

import random
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.database.enums import PairSource
from storage.taste.opinions import Preference
from storage.training.feedback import RatedReply, WrittenCorrection
from tests.trainer.rated import ANN, BEN, CAT, PROMPT, corrections, crowd, rated, replies, sample, written
from trainer.data.pairs import (
    MAX_PAIRS_PER_PROMPT,
    Pair,
    RoundFeedback,
    pair_by_people,
    pair_choices,
    pair_corrections,
    pair_siblings,
    probability_better,
    probability_chosen,
)

# A beta distribution with a parameter 1 has the distribution function x^a or 1 - (1 - x)^b: a pencil is enough.
BY_HAND = [
    pytest.param((0, 0), (0, 0), 1 / 2, id="nothing is known"),
    pytest.param((1, 0), (0, 0), 2 / 3, id="one like: the mean of Beta(2, 1)"),
    pytest.param((1, 0), (0, 1), 5 / 6, id="a like against a dislike"),
    pytest.param((2, 0), (0, 0), 3 / 4, id="two likes"),
    pytest.param((2, 0), (0, 1), 9 / 10, id="two likes against a dislike"),
    pytest.param((3, 0), (0, 0), 4 / 5, id="three likes"),
    pytest.param((3, 0), (0, 1), 14 / 15, id="three likes against a dislike"),
    pytest.param((4, 0), (1, 0), 5 / 7, id="four likes against one"),
    pytest.param((1, 0), (4, 0), 2 / 7, id="one like against four"),
    pytest.param((0.5, 0), (0, 0), 3 / 5, id="half a like"),
    pytest.param((99, 0), (0, 99), 1 - 1 / (100 * 5.6e57), id="a landslide"),
]


@pytest.mark.parametrize(("better", "worse", "probability"), BY_HAND)
def test_the_posterior_is_what_a_pencil_says(
    better: tuple[float, float], worse: tuple[float, float], probability: float
) -> None:
    assert probability_better(*better, *worse) == pytest.approx(probability, abs=1e-9)


amount = st.integers(0, 50) | st.floats(0, 50)


@given(amount, amount, amount, amount)
def test_one_of_two_answers_is_better(up: float, down: float, other_up: float, other_down: float) -> None:
    one, other = probability_better(up, down, other_up, other_down), probability_better(other_up, other_down, up, down)
    assert one + other == pytest.approx(1, abs=2e-4)
    assert 0 <= one <= 1


@pytest.mark.parametrize("votes", [10, 1_000, 100_000, 10_000_000])
def test_a_crowd_of_any_size_is_weighed(votes: int) -> None:
    assert probability_better(votes, votes, votes, votes) == pytest.approx(1 / 2, abs=1e-6)
    assert probability_better(votes, votes, 0, 0) == pytest.approx(1 / 2, abs=1e-6)
    assert 0.99 < probability_better(votes, 0, votes, votes) <= 1


# Siblings


def only(pairs: list[Pair]) -> Pair:
    (pair,) = pairs
    return pair


def rows(pairs: list[Pair]) -> set[tuple[int | None, int | None]]:
    return {(pair.chosen.reply_id, pair.rejected.reply_id) for pair in pairs}


def test_a_liked_answer_is_preferred_to_a_disliked_one() -> None:
    pair = only(pair_siblings([rated(1, "good", up=[ANN]), rated(2, "bad", down=[BEN])]))
    assert (pair.prompt, pair.chosen.text, pair.rejected.text) == (PROMPT, "good", "bad")
    assert (pair.source, pair.rows) == (PairSource.SIBLINGS, (1, 2, None))
    assert pair.weight == pytest.approx(2 * 5 / 6 - 1)
    assert pair.backers == ((ANN, 0.5), (BEN, 0.5))


def test_a_broken_answer_is_never_chosen_however_many_like_it() -> None:
    broken, whole = rated(1, "🎉🔥✨🎉🔥✨", up=crowd(9)), rated(2, "just so", up=[ANN], down=[BEN, CAT])
    assert pair_siblings([broken, whole]) == []
    assert rows(pair_siblings([broken, rated(3, "well said", up=crowd(9)), whole])) == {(3, 2)}


@pytest.mark.parametrize(("likes", "weight"), [(1, 1 / 3), (2, 1 / 2), (3, 3 / 5)])
def test_even_one_like_against_an_answer_without_votes_says_something(likes: int, weight: float) -> None:
    """P = (likes + 1) / (likes + 2)."""
    assert only(pair_siblings([rated(1, up=crowd(likes)), rated(2)])).weight == pytest.approx(weight)


def test_weights_of_the_votes_decide_not_their_number() -> None:
    light, heavy = (only(pair_siblings([rated(1, up=crowd(n), weight=0.1), rated(2)])).weight for n in (3, 30))
    assert light == pytest.approx(0.3 / 2.3)
    assert heavy == pytest.approx(3 / 5)


def test_few_sure_votes_may_beat_many_divided_ones() -> None:
    """Three likes of three against thirty of fifty: the second has more likes on balance, and is the worse answer."""
    answers = [rated(1, up=crowd(3)), rated(2, up=crowd(30), down=crowd(20, first=200))]
    assert rows(pair_siblings(answers)) == {(1, 2)}


@pytest.mark.parametrize(
    "answers",
    [
        pytest.param([rated(1, up=[ANN])], id="no sibling"),
        pytest.param([rated(1), rated(2)], id="no votes"),
        pytest.param([rated(1, up=[ANN]), rated(2, up=[BEN])], id="both liked alike"),
        pytest.param([rated(1, "same", up=[ANN]), rated(2, "same", down=[BEN])], id="equal text"),
        pytest.param([rated(1, down=[ANN]), rated(2, down=crowd(9))], id="both disliked"),
        pytest.param([rated(1), rated(2, down=crowd(9))], id="a dislike and no like"),
        pytest.param([rated(1, up=[ANN], down=[BEN]), rated(2, down=crowd(9))], id="liked by half"),
        pytest.param([rated(1, up=[ANN]), rated(2, down=[BEN], prompt=PROMPT + " ")], id="other prompt"),
        pytest.param([rated(1, up=crowd(9)), sample(2)], id="a sample"),
    ],
)
def test_votes_that_prefer_nothing_surely_make_no_pair(answers: list[RatedReply]) -> None:
    assert pair_siblings(answers) == []


def test_one_prompt_cannot_fill_a_round() -> None:
    answers = [rated(1, up=[ANN]), *(rated(i, down=crowd(i)) for i in range(2, 20))]
    pairs = pair_siblings(answers)
    assert len(pairs) == MAX_PAIRS_PER_PROMPT
    assert rows(pairs) == {(1, 19), (1, 18), (1, 17), (1, 16)}, "the surest ones are kept"


def test_the_newest_of_equally_sure_pairs_are_kept() -> None:
    answers = [rated(1, up=[ANN]), *(rated(i, down=[BEN]) for i in range(2, 20))]
    assert rows(pair_siblings(answers)) == {(1, 19), (1, 18), (1, 17), (1, 16)}


# Choices


def chose(voter: int, chosen: int | None, *answers: int, weight: float = 1.0) -> Preference:
    return Preference(answers, chosen, voter, weight, datetime(2026, 11, 4, tzinfo=UTC))


@pytest.mark.parametrize(
    ("picks", "against", "probability"), [(0, 0, 1 / 2), (1, 0, 3 / 4), (2, 0, 7 / 8), (1, 1, 1 / 2)]
)
def test_a_choice_says_what_a_pencil_says(picks: int, against: int, probability: float) -> None:
    assert probability_chosen(picks, against) == pytest.approx(probability)


def test_the_chosen_answer_is_preferred_to_each_of_the_others() -> None:
    answers = [rated(1), rated(2), rated(3)]
    pairs = pair_choices(answers, [chose(ANN, 2, 1, 2, 3)])
    assert rows(pairs) == {(2, 1), (2, 3)}
    assert {(pair.source, pair.weight, pair.backers) for pair in pairs} == {(PairSource.CHOICE, 0.5, ((ANN, 1.0),))}


def test_more_people_who_choose_alike_make_a_pair_surer_and_never_fewer_pairs() -> None:
    answers = [rated(1), rated(2), rated(3)]
    for voters in range(1, 12):
        picks = [chose(100 + i, (2, 2, 1)[i % 3], 1, 2, 3) for i in range(voters)]
        assert (2, 3) in rows(pair_choices(answers, picks)), voters


def test_people_who_disagree_evenly_make_no_pair() -> None:
    assert pair_choices([rated(1), rated(2)], [chose(ANN, 1, 1, 2), chose(BEN, 2, 1, 2)]) == []


@pytest.mark.parametrize(
    "answers",
    [
        pytest.param([rated(1)], id="the other answer is gone"),
        pytest.param([rated(1, "same"), rated(2, "same")], id="equal text"),
        pytest.param([rated(1), rated(2, prompt="another")], id="another prompt"),
        pytest.param([rated(1, "🎉🔥✨🎉🔥✨"), rated(2)], id="a broken answer"),
    ],
)
def test_choices_that_teach_nothing_make_no_pair(answers: list[RatedReply]) -> None:
    assert pair_choices(answers, [chose(ANN, 1, 1, 2)]) == []


def test_thumbs_under_answers_that_were_chosen_between_are_not_counted_twice() -> None:
    feedback = RoundFeedback((rated(1, up=[ANN]), rated(2, down=[ANN])), (), (chose(ANN, 1, 1, 2),))
    assert [pair.source for pair in pair_by_people(feedback)] == [PairSource.CHOICE]
    about_the_same = RoundFeedback(feedback.replies, (), (chose(ANN, None, 1, 2),))
    assert [pair.source for pair in pair_by_people(about_the_same)] == [PairSource.SIBLINGS]


# Corrections


def test_a_correction_beats_the_answer_it_corrects_even_a_liked_one() -> None:
    pair = only(pair_corrections([rated(1, "wrong", up=crowd(3))], [written(9, 1, "right", author_id=CAT)]))
    assert (pair.prompt, pair.chosen.text, pair.rejected.text) == (PROMPT, "right", "wrong")
    assert (pair.source, pair.weight, pair.rows) == (PairSource.CORRECTION, 1.0, (None, 1, 9))
    assert pair.backers == ((CAT, 1.0),)


def test_a_correction_beats_fresh_samples_and_earlier_answers_but_no_liked_one() -> None:
    answers = [
        rated(1, "wrong"),
        rated(2, "of an earlier version"),
        sample(3, "fresh"),
        rated(4, "disliked", down=[BEN]),
        rated(5, "liked", up=[BEN]),
        rated(6, "elsewhere", prompt="another"),
    ]
    pairs = pair_corrections(answers, [written(9, 1, "right")])
    assert {(pair.rejected.text, pair.source, pair.weight) for pair in pairs} == {
        ("wrong", PairSource.CORRECTION, 1.0),
        ("of an earlier version", PairSource.CORRECTED_SAMPLE, 0.5),
        ("fresh", PairSource.CORRECTED_SAMPLE, 0.5),
        ("disliked", PairSource.CORRECTED_SAMPLE, 0.5),
    }
    assert {pair.chosen.text for pair in pairs} == {"right"}


def test_a_correction_weighs_what_its_author_does_and_teaches_nothing_without() -> None:
    answers = [rated(1, "wrong"), sample(2, "fresh")]
    pairs = pair_corrections(answers, [written(9, 1, "right", weight=0.4), written(10, 1, "bought", weight=0.0)])
    assert [(pair.chosen.text, pair.weight) for pair in pairs] == [("right", 0.4), ("right", 0.2)]


def test_the_weightiest_few_corrections_of_a_prompt_are_learned() -> None:
    many = [written(id_, 1, f"better {id_}", author_id=id_, weight=0.2 + 0.8 * (id_ < 13)) for id_ in range(9, 20)]
    assert [pair.chosen.correction_id for pair in pair_corrections([rated(1, "wrong")], many)] == [9, 10, 11, 12]


def test_a_correction_is_compared_with_the_newest_few_answers() -> None:
    pairs = pair_corrections([rated(i) for i in range(1, 20)], [written(9, 1)])
    assert {pair.rejected.reply_id for pair in pairs} == {1, 17, 18, 19}


def test_a_correction_that_changes_nothing_or_lost_its_reply_makes_no_pair() -> None:
    answers = [rated(1, "a"), sample(2, "b")]
    assert pair_corrections(answers, [written(1, 7, "x")]) == []
    assert [pair.rejected.text for pair in pair_corrections(answers, [written(1, 1, "b")])] == ["a"]


# All together


def made(answers: list[RatedReply], written_ones: list[WrittenCorrection]) -> list[Pair]:
    pairs = pair_by_people(RoundFeedback(tuple(answers), tuple(written_ones)))
    return sorted(pairs, key=lambda pair: pair.recency)


@given(replies, corrections)
def test_every_pair_has_one_prompt_and_a_better_and_a_worse_answer(
    answers: list[RatedReply], written_ones: list[WrittenCorrection]
) -> None:
    by_id, texts = {one.id: one for one in answers}, {one.id: one for one in written_ones}
    pairs = made(answers, written_ones)
    assert len({pair.rows for pair in pairs}) == len(pairs)
    for pair in pairs:
        rejected = by_id[pair.rejected.reply_id or 0]
        assert (pair.prompt, pair.rejected.text) == (rejected.prompt, rejected.answer)
        assert pair.chosen.text != pair.rejected.text
        assert 0 < pair.weight <= 1
        assert sum(share for _, share in pair.backers) == pytest.approx(1)
        if pair.source is PairSource.SIBLINGS:
            chosen = by_id[pair.chosen.reply_id or 0]
            assert (chosen.prompt, chosen.answer) == (pair.prompt, pair.chosen.text)
            assert chosen.net > 0
            assert not chosen.is_sample
            assert not rejected.is_sample
        else:
            correction = texts[pair.chosen.correction_id or 0]
            assert pair.chosen.text == correction.text
            assert by_id[correction.reply_id].prompt == pair.prompt
            assert (pair.source is PairSource.CORRECTION) == (rejected.id == correction.reply_id)


@given(replies, corrections, st.randoms(use_true_random=False))
def test_the_order_of_the_rows_does_not_matter(
    answers: list[RatedReply], written_ones: list[WrittenCorrection], rng: random.Random
) -> None:
    pairs = made(answers, written_ones)
    assert made(rng.sample(answers, len(answers)), rng.sample(written_ones, len(written_ones))) == pairs
