from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.evidence import RatedReply, WrittenCorrection
from storage.schema import PairSource
from storage.votes import Tally
from trainer.pairs import MAX_RIVALS, Pair, build_pairs, newest_pairs, split_holdout

PROMPT = "<|user|>hi<|bot|>"


def reply(id_: int, answer: str, up: int = 0, down: int = 0, prompt: str = PROMPT) -> RatedReply:
    return RatedReply(id_, prompt, answer, Tally(up, down))


def sides(pairs: list[Pair]) -> list[tuple[str, str, float]]:
    return [(pair.chosen, pair.rejected, pair.weight) for pair in pairs]


def test_a_correction_beats_the_answer_it_corrects() -> None:
    [pair] = build_pairs([reply(1, "wrong", up=3)], [WrittenCorrection(9, reply_id=1, text="right")])
    assert pair == Pair(
        prompt=PROMPT,
        chosen="right",
        rejected="wrong",
        source=PairSource.CORRECTION,
        weight=1.0,
        rejected_reply_id=1,
        correction_id=9,
    )


def test_the_best_sibling_is_paired_with_each_worse_one_and_weighed_by_the_lead() -> None:
    pairs = build_pairs([reply(1, "good", up=2), reply(2, "unrated"), reply(3, "bad", down=1)], [])
    assert sides(pairs) == [("good", "unrated", 2 / 3), ("good", "bad", 3 / 4)]
    assert {pair.source for pair in pairs} == {PairSource.SIBLINGS}
    assert [(pair.chosen_reply_id, pair.rejected_reply_id) for pair in pairs] == [(1, 2), (1, 3)]


def test_an_answer_nobody_minded_beats_one_that_was_voted_down() -> None:
    assert sides(build_pairs([reply(1, "unrated"), reply(2, "bad", down=1)], [])) == [("unrated", "bad", 0.5)]


@pytest.mark.parametrize(
    "replies",
    [
        pytest.param([reply(1, "a", up=1)], id="no sibling"),
        pytest.param([reply(1, "a"), reply(2, "b")], id="no votes"),
        pytest.param([reply(1, "a", up=2, down=1), reply(2, "b", up=1)], id="a draw"),
        pytest.param([reply(1, "same", up=1), reply(2, "same", down=1)], id="equal text"),
        pytest.param([reply(1, "a", down=1), reply(2, "b", down=2)], id="both disliked"),
        pytest.param([reply(1, "a", up=1), reply(2, "b", down=1, prompt=PROMPT + " ")], id="other prompt"),
    ],
)
def test_votes_that_prefer_nothing_make_no_pair(replies: list[RatedReply]) -> None:
    assert build_pairs(replies, []) == []


def test_a_correction_that_changes_nothing_or_lost_its_reply_makes_no_pair() -> None:
    corrections = [WrittenCorrection(1, reply_id=1, text="a"), WrittenCorrection(2, reply_id=7, text="b")]
    assert build_pairs([reply(1, "a")], corrections) == []


def test_one_prompt_cannot_fill_a_round() -> None:
    replies = [reply(0, "liked", up=1), *(reply(i, f"answer {i}", down=i) for i in range(1, 20))]
    pairs = build_pairs(replies, [])
    assert len(pairs) == MAX_RIVALS
    assert {pair.rejected_reply_id for pair in pairs} == {15, 16, 17, 18, 19}


def test_the_newest_pairs_are_kept() -> None:
    pairs = build_pairs([reply(i, "x") for i in (1, 2, 3)], [WrittenCorrection(9 - i, i, "y") for i in (1, 2, 3)])
    assert [pair.rejected_reply_id for pair in newest_pairs(pairs, 2)] == [2, 3]


def test_half_of_the_prompts_are_held_out() -> None:
    pairs = [pair_of(f"prompt {i}", i) for i in range(10)]
    train, holdout = split_holdout(pairs, 0.5, seed=1)
    assert len(train) == len(holdout) == 5
    assert split_holdout(pairs, 0.5, seed=1) == (train, holdout)
    assert split_holdout(pairs, 0.5, seed=2) != (train, holdout)


def test_a_prompt_that_was_held_out_stays_out_as_pairs_are_added() -> None:
    pairs = [pair_of(f"prompt {i}", i) for i in range(200)]
    _, before = split_holdout(pairs[:100], 0.2, seed=1)
    train, _ = split_holdout(pairs, 0.2, seed=1)
    moved = {pair.prompt for pair in before} & {pair.prompt for pair in train}
    assert len(moved) <= len(before) / 4


def pair_of(prompt: str, id_: int) -> Pair:
    return Pair(prompt, "yes", "no", PairSource.CORRECTION, 1.0, rejected_reply_id=id_, correction_id=id_)


votes = st.integers(0, 3)
replies_ = st.lists(
    st.builds(
        reply, st.just(0), st.sampled_from("abcd"), up=votes, down=votes, prompt=st.sampled_from(["p", "q", "é"])
    ),
    max_size=12,
).map(lambda made: [replace(one, id=i) for i, one in enumerate(made, 1)])
corrections_ = st.lists(st.tuples(st.integers(1, 14), st.sampled_from("abcxyz")), max_size=5).map(
    lambda made: [WrittenCorrection(i, reply_id, text) for i, (reply_id, text) in enumerate(made, 1)]
)


@given(replies_, corrections_)
def test_every_pair_has_one_prompt_and_a_better_and_a_worse_answer(
    replies: list[RatedReply], corrections: list[WrittenCorrection]
) -> None:
    by_id = {one.id: one for one in replies}
    texts = {one.id: one for one in corrections}
    for pair in build_pairs(replies, corrections):
        rejected = by_id[pair.rejected_reply_id]
        assert (pair.prompt, pair.rejected) == (rejected.prompt, rejected.answer)
        assert pair.chosen != pair.rejected
        assert 0 < pair.weight <= 1
        if pair.correction_id is not None:
            assert (pair.chosen, rejected.id) == (texts[pair.correction_id].text, texts[pair.correction_id].reply_id)
        else:
            chosen = by_id[pair.chosen_reply_id or 0]
            assert (chosen.prompt, chosen.answer) == (pair.prompt, pair.chosen)
            assert chosen.net > rejected.net
            assert chosen.net >= 0
            assert chosen.votes != Tally() or rejected.votes != Tally()


@given(replies_, corrections_, st.randoms(use_true_random=False))
def test_the_order_of_the_rows_does_not_matter(
    replies: list[RatedReply], corrections: list[WrittenCorrection], rng: random.Random
) -> None:
    pairs = build_pairs(replies, corrections)
    shuffled = build_pairs(rng.sample(replies, len(replies)), rng.sample(corrections, len(corrections)))
    assert shuffled == pairs
    assert newest_pairs(pairs[::-1], 3) == pairs[-3:]


@given(replies_, corrections_, st.floats(0, 0.99), st.integers(0, 5))
def test_no_prompt_is_both_trained_on_and_held_out(
    replies: list[RatedReply], corrections: list[WrittenCorrection], share: float, seed: int
) -> None:
    pairs = build_pairs(replies, corrections)
    train, holdout = split_holdout(pairs, share, seed)
    assert sorted([*train, *holdout], key=lambda pair: pair.recency) == pairs
    assert not {pair.prompt for pair in train} & {pair.prompt for pair in holdout}
    assert bool(train) == bool(pairs)
