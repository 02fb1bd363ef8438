"""The other side of a lone vote: which samples are drawn, and which pairs they make."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.database.enums import PairSource
from storage.settings.sections import PairSettings
from storage.training.evidence import RatedReply
from tests.trainer.rated import ANN, BEN, crowd, rated, replies, sample, written
from trainer.data.lone_votes import SampleRequest, limit_share, lone_replies, pair_lone_votes, samples_wanted
from trainer.data.pairs import Pair, pair_siblings

SETTINGS = PairSettings(lone_vote_samples=4, correction_samples=1)


def ids(answers: list[RatedReply]) -> list[int]:
    return [answer.id for answer in answers]


# Which votes are alone


def test_votes_that_make_no_pair_by_themselves_are_alone() -> None:
    answers = [
        rated(1, up=[ANN], prompt="liked"),
        rated(2, down=[BEN], prompt="disliked"),
        rated(3, prompt="no votes"),
        rated(4, up=[ANN], down=[BEN], prompt="a draw"),
        sample(5, prompt="a sample"),
        rated(6, up=[ANN], prompt="siblings"),
        rated(7, down=[BEN], prompt="siblings"),
        rated(8, up=[ANN], prompt="unsure siblings"),
        rated(9, prompt="unsure siblings"),
    ]
    assert ids(lone_replies(answers, pair_siblings(answers, 0.8))) == [1, 2, 8]


def test_the_newest_of_several_votes_on_a_prompt_is_completed() -> None:
    assert ids(lone_replies([rated(3, down=[ANN]), rated(1, down=[BEN]), rated(2, down=[BEN])], [])) == [3]


@given(replies, st.randoms(use_true_random=False))
def test_the_order_of_the_rows_does_not_matter(answers: list[RatedReply], rng: random.Random) -> None:
    pairs = pair_siblings(answers, 0.8)
    lone = lone_replies(answers, pairs)
    assert lone_replies(rng.sample(answers, len(answers)), pairs) == lone
    assert [answer.id for answer in lone] == sorted({answer.id for answer in lone})
    assert not {answer.prompt for answer in lone} & {pair.prompt for pair in pairs}


# Which samples are wanted


def test_lone_votes_and_corrections_want_samples() -> None:
    answers = [rated(1, up=[ANN], prompt="lone"), rated(2, prompt="corrected"), rated(3, prompt="neither")]
    wanted = samples_wanted(answers[:1], [written(1, 2)], answers, drawn=Counter(), settings=SETTINGS)
    assert wanted == [SampleRequest(1, "lone", 4), SampleRequest(2, "corrected", 1)]


def test_samples_that_are_there_are_not_drawn_again() -> None:
    lone = rated(1, up=[ANN])
    wanted = samples_wanted([lone], [], [lone], drawn=Counter({lone.prompt: 2, "another": 9}), settings=SETTINGS)
    assert wanted == [SampleRequest(1, lone.prompt, 2)]
    for enough in (4, 5):
        drawn = Counter({lone.prompt: enough})
        assert samples_wanted([lone], [], [lone], drawn=drawn, settings=SETTINGS) == []


def test_a_prompt_gets_its_samples_once() -> None:
    answers = [rated(1, up=[ANN]), rated(2), rated(3)]
    corrections = [written(1, 2), written(2, 3), written(3, 2, author_id=BEN), written(4, 99)]
    wanted = samples_wanted(answers[:1], corrections, answers, drawn=Counter(), settings=SETTINGS)
    assert wanted == [SampleRequest(1, answers[0].prompt, 4)]
    assert [r.count for r in samples_wanted([], corrections, answers, drawn=Counter(), settings=SETTINGS)] == [1]


def test_samples_for_corrections_can_be_turned_off() -> None:
    off = PairSettings(correction_samples=0)
    assert samples_wanted([], [written(1, 1)], [rated(1)], drawn=Counter(), settings=off) == []


# Which pairs they make


def completed(lone: RatedReply, samples: list[RatedReply], scores: dict[int, float], weight: float = 0.5) -> list[Pair]:
    return pair_lone_votes([lone], [lone, *samples], scores, version_id=None, weight=weight)


def test_a_disliked_answer_is_rejected_for_the_best_sample() -> None:
    lone = rated(1, "bad", down=[BEN])
    (pair,) = completed(lone, [sample(2), sample(3, "best"), sample(4)], {1: 0.2, 2: 0.6, 3: 0.9, 4: 0.1})
    assert (pair.chosen.text, pair.rejected.text, pair.rows) == ("best", "bad", (3, 1, None))
    assert (pair.source, pair.weight, pair.backers) == (PairSource.LONE_VOTE, 0.5, ((BEN, 1.0),))


def test_a_liked_answer_is_chosen_over_the_worst_sample() -> None:
    lone = rated(1, "good", up=[ANN, BEN])
    (pair,) = completed(lone, [sample(2), sample(3), sample(4, "worst")], {1: 0.8, 2: 0.6, 3: 0.9, 4: 0.1})
    assert (pair.chosen.text, pair.rejected.text, pair.rows) == ("good", "worst", (1, 4, None))
    assert pair.backers == ((ANN, 0.5), (BEN, 0.5))


@pytest.mark.parametrize(
    ("lone", "scores"),
    [
        pytest.param(rated(1, down=[ANN]), {1: 0.5, 2: 0.4, 3: 0.5}, id="no sample is better than the disliked answer"),
        pytest.param(rated(1, up=[ANN]), {1: 0.5, 2: 0.5, 3: 0.6}, id="no sample is worse than the liked answer"),
        pytest.param(rated(1, up=[ANN]), {2: 0.1, 3: 0.2}, id="the answer was not scored"),
        pytest.param(rated(1, up=[ANN]), {1: 0.9}, id="no sample was scored"),
        pytest.param(rated(1, "answer 2", up=[ANN]), {1: 0.9, 2: 0.1}, id="the sample says the same"),
    ],
)
def test_no_pair_comes_of_samples_on_the_same_side(lone: RatedReply, scores: dict[int, float]) -> None:
    assert completed(lone, [sample(2), sample(3)], scores) == []


def test_a_broken_sample_is_never_chosen_and_may_be_rejected() -> None:
    broken, whole = sample(2, "🎉🔥✨🎉🔥✨"), sample(3, "just so")
    [pair] = completed(rated(1, down=[ANN]), [broken, whole], {1: 0.1, 2: 0.9, 3: 0.5})
    assert pair.chosen.text == "just so"
    [pair] = completed(rated(1, up=[ANN]), [broken, whole], {1: 0.9, 2: 0.1, 3: 0.5})
    assert pair.rejected.text == broken.answer
    assert completed(rated(1, "🎉🔥✨🎉🔥✨", up=[ANN]), [whole], {1: 0.9, 3: 0.1}) == []


def test_samples_of_another_version_and_members_answers_are_not_taken() -> None:
    lone = rated(1, down=[ANN])
    others = [sample(2, version_id=3), rated(3), sample(4, prompt="another")]
    assert completed(lone, others, {1: 0.1, 2: 0.9, 3: 0.9, 4: 0.9}) == []


def test_a_vote_that_counts_less_makes_a_lighter_pair() -> None:
    light, heavy = rated(1, down=[ANN], weight=0.2), rated(1, down=crowd(5))
    assert completed(light, [sample(2)], {1: 0.1, 2: 0.9})[0].weight == pytest.approx(0.1)
    assert completed(heavy, [sample(2)], {1: 0.1, 2: 0.9})[0].weight == 0.5


# How many of them


def lone_pairs(count: int) -> list[Pair]:
    answers = [rated(id_, down=[ANN], prompt=f"p{id_}") for id_ in range(1, count + 1)]
    samples = [sample(100 + answer.id, prompt=answer.prompt) for answer in answers]
    scores = {answer.id: 0.1 for answer in answers} | {one.id: 0.9 for one in samples}
    return pair_lone_votes(answers, [*answers, *samples], scores, version_id=None, weight=0.5)


@pytest.mark.parametrize(
    ("others", "max_share", "kept"),
    [(12, 0.5, 12), (12, 0.25, 4), (12, 0.0, 0), (12, 1.0, 40), (12, 0.75, 36), (30, 0.9, 40)],
)
def test_completed_pairs_are_at_most_a_share_of_all(others: int, max_share: float, kept: int) -> None:
    found = limit_share(lone_pairs(40), others, max_share, enough=8)
    assert len(found) == kept
    assert [pair.rejected.reply_id for pair in found] == list(range(41 - kept, 41)), "the newest ones"


@pytest.mark.parametrize("others", [0, 1, 7])
def test_all_lone_votes_are_used_if_other_pairs_are_too_few(others: int) -> None:
    assert len(limit_share(lone_pairs(40), others, 0.5, enough=8)) == 40
