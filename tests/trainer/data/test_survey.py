"""What the line behind a version has learned: nothing is new twice, and old lessons come back while they stand."""

from __future__ import annotations

import pytest

from storage.database.enums import PairSource, Split
from storage.training.evidence import RatedReply, WrittenCorrection
from storage.training.rounds import ManifestPair
from tests.trainer.rated import ANN, BEN, CAT, crowd, rated, sample, written
from trainer.data.pairs import Pair, pair_corrections, pair_siblings
from trainer.data.survey import TrainingHistory, read_history, replay_pairs


def line(
    chosen: int | None,
    rejected: int | None,
    source: PairSource = PairSource.SIBLINGS,
    *,
    correction: int | None = None,
    split: Split = Split.TRAIN,
    weight: float = 0.1,
    replayed: bool = False,
) -> ManifestPair:
    return ManifestPair(source, split, weight, rejected, chosen, correction, replayed)


def ledger_of(entries: list[ManifestPair], answers: list[RatedReply]) -> TrainingHistory:
    return read_history(entries, {answer.id: answer for answer in answers})


def recalled(
    entries: list[ManifestPair], answers: list[RatedReply], corrections: list[WrittenCorrection] | None = None
) -> list[Pair]:
    by_id = {correction.id: correction for correction in corrections or []}
    return replay_pairs(
        ledger_of(entries, answers), {answer.id: answer for answer in answers}, by_id, lone_vote_weight=0.5
    )


SIBLINGS = [rated(1, "good", up=[ANN]), rated(2, "bad", down=[BEN])]


def test_prompts_of_trained_and_held_out_pairs_are_remembered() -> None:
    answers = [rated(id_, prompt=f"p{id_}") for id_ in range(1, 7)]
    entries = [
        line(1, 2),
        line(None, 3, split=Split.VALIDATION),
        line(4, None),
        line(5, 6, split=Split.HOLDOUT),
        line(97, None),
    ]
    history = ledger_of(entries, answers)
    assert history.trained_prompts == {"p1", "p2", "p3", "p4"}
    assert history.held_out_prompts == {"p5", "p6"}


def test_a_trained_pair_is_known_and_a_held_out_one_is_not() -> None:
    (pair,) = pair_siblings(SIBLINGS, 0.8)
    assert ledger_of([line(1, 2)], SIBLINGS).has_learned(pair)
    assert not ledger_of([line(1, 2, split=Split.HOLDOUT)], SIBLINGS).has_learned(pair)
    assert not ledger_of([line(2, 1)], SIBLINGS).has_learned(pair)
    assert not ledger_of([], SIBLINGS).has_learned(pair)


def test_a_correction_that_was_learned_is_not_learned_again_from_a_newer_sample() -> None:
    answers = [rated(1, "wrong"), sample(2, "newer")]
    own, other = pair_corrections(answers, [written(5, 1, "right")])
    history = ledger_of([line(None, 1, PairSource.CORRECTION, correction=5)], answers)
    assert history.has_learned(own)
    assert history.has_learned(other)
    (edited, _) = pair_corrections(answers, [written(6, 1, "even better")])
    assert not history.has_learned(edited)


# Old lessons


def test_an_old_pair_comes_back_with_the_weight_that_its_votes_have_now() -> None:
    answers = [rated(1, "good", up=[ANN, CAT]), rated(2, "bad", down=[BEN])]
    (pair,) = recalled([line(1, 2, weight=0.01)], answers)
    assert (pair.chosen.text, pair.rejected.text, pair.replayed) == ("good", "bad", True)
    assert pair.weight == pytest.approx(2 * 9 / 10 - 1)
    assert pair.backers == tuple((user_id, pytest.approx(1 / 3)) for user_id in (ANN, BEN, CAT))


def test_a_pair_of_many_rounds_comes_back_once() -> None:
    assert len(recalled([line(1, 2), line(1, 2, replayed=True), line(1, 2, replayed=True)], SIBLINGS)) == 1


@pytest.mark.parametrize(
    "answers",
    [
        pytest.param([rated(1, down=[ANN]), rated(2, down=[BEN])], id="the chosen one is disliked now"),
        pytest.param([rated(1), rated(2, down=[BEN])], id="the like was withdrawn"),
        pytest.param([rated(1, up=[ANN]), rated(2, up=crowd(9))], id="the rejected one is liked more now"),
        pytest.param([rated(1, up=[ANN]), rated(2, up=[BEN])], id="both are liked alike"),
        pytest.param([rated(1, up=[ANN])], id="the rejected one was deleted"),
        pytest.param([rated(2, down=[BEN])], id="the chosen one was deleted"),
    ],
)
def test_a_pair_whose_votes_do_not_stand_stays_away(answers: list[RatedReply]) -> None:
    assert recalled([line(1, 2)], answers) == []


@pytest.mark.parametrize("source", [PairSource.SIBLINGS, PairSource.LONE_VOTE])
def test_a_broken_answer_is_not_chosen_again_however_liked(source: PairSource) -> None:
    """An earlier Reactune may have learned it, under other rules of what is broken."""
    answers = [rated(1, "warm " * 20, up=crowd(9)), rated(2, "bad", down=[BEN], is_sample=source == "lone vote")]
    assert recalled([line(1, 2, source)], answers) == []


def test_a_broken_sample_is_not_chosen_again_for_a_disliked_answer() -> None:
    answers = [sample(1, "warm " * 20), rated(2, "bad", down=[BEN])]
    assert recalled([line(1, 2, PairSource.LONE_VOTE)], answers) == []


def test_a_broken_answer_is_rejected_again() -> None:
    answers = [rated(1, "good", up=[ANN]), rated(2, "warm " * 20, down=[BEN])]
    (pair,) = recalled([line(1, 2)], answers)
    assert pair.chosen.text == "good"


def test_an_old_correction_is_replayed_while_it_is_valid() -> None:
    answers = [rated(1, "wrong"), sample(2, "fresh")]
    entries = [
        line(None, 1, PairSource.CORRECTION, correction=5),
        line(None, 2, PairSource.CORRECTED_SAMPLE, correction=5),
    ]
    pairs = recalled(entries, answers, [written(5, 1, "right", author_id=CAT)])
    assert [(pair.source, pair.weight, pair.rejected.text) for pair in pairs] == [
        (PairSource.CORRECTION, 1.0, "wrong"),
        (PairSource.CORRECTED_SAMPLE, 0.5, "fresh"),
    ]
    assert {pair.backers for pair in pairs} == {((CAT, 1.0),)}
    assert recalled(entries, answers) == [], "it was withdrawn"
    assert recalled([line(None, 1, PairSource.CORRECTION)], answers) == [], "its author's data was deleted"


def test_an_answer_that_members_like_by_now_is_not_rejected_for_a_correction_of_another() -> None:
    answers = [rated(1, "wrong", up=[ANN]), rated(2, "liked by now", up=[ANN])]
    entries = [
        line(None, id_, source, correction=5)
        for id_, source in ((1, PairSource.CORRECTION), (2, PairSource.CORRECTED_SAMPLE))
    ]
    assert [pair.rejected.text for pair in recalled(entries, answers, [written(5, 1)])] == ["wrong"]


def test_an_old_lone_vote_is_replayed_with_its_sample_while_it_is_valid() -> None:
    answers = [rated(1, "liked", up=[ANN]), sample(2, "worst"), rated(3, "disliked", down=[BEN]), sample(4, "best")]
    entries = [line(1, 2, PairSource.LONE_VOTE), line(4, 3, PairSource.LONE_VOTE)]
    pairs = recalled(entries, answers)
    assert [(pair.chosen.text, pair.rejected.text, pair.weight) for pair in pairs] == [
        ("liked", "worst", 0.5),
        ("best", "disliked", 0.5),
    ]
    assert [pair.backers for pair in pairs] == [((ANN, 1.0),), ((BEN, 1.0),)]
    flipped = [rated(1, down=[ANN]), sample(2), rated(3), sample(4)]
    assert recalled(entries, flipped) == []
