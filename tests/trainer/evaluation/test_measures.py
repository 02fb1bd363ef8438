"""Losses of given texts: coherence, retention and likelihood."""

import math
import random
from collections import Counter
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from storage.models.base_model import load_model, load_tokenizer
from trainer.evaluation.measures import (
    MAX_LOGITS,
    ScoredPassage,
    alike_share,
    answer_losses,
    batches,
    degenerate_share,
    highest,
    human_exchanges,
    losses_by_position,
    mean_loss,
    retention_loss,
    retention_text,
    shuffle_words,
    surprise_ratio,
    token_losses,
)
from trainer.evaluation.model_measurements import NEUTRAL_MESSAGES

PASSAGES = [
    ScoredPassage([1, 5, 9], [4, 7]),
    ScoredPassage([3], [8, 2, 6, 300, 12]),
    ScoredPassage([1, 2, 3, 4, 5, 6], [11]),
]


@pytest.fixture(scope="module")
def tokenizer(base):
    return load_tokenizer(base.path)


@pytest.fixture(scope="module")
def model(base):
    return load_model(base, "float32")


@pytest.fixture
def clueless(base):
    """A model to which all words are equally likely, since all its embeddings are zero."""
    model = load_model(base, "float32")
    with torch.no_grad():
        model.get_output_embeddings().weight.zero_()
    return model


def alone(model, context, target):
    """The passage's summed loss, one forward pass and one token after another."""
    ids = [*context, *target]
    with torch.inference_mode():
        logps = torch.log_softmax(model(input_ids=torch.tensor([ids])).logits[0].double(), dim=-1)
    return -sum(float(logps[i - 1, ids[i]]) for i in range(len(context), len(ids)))


def test_passages_of_any_length_are_judged_together_as_alone(model):
    expected = sum(alone(model, passage.context_ids, passage.target_ids) for passage in PASSAGES) / 8
    assert mean_loss(model, PASSAGES) == pytest.approx(expected, rel=1e-5)


def test_nothing_to_judge_gives_nan(model):
    assert math.isnan(mean_loss(model, []))


def test_batches_hold_every_passage_and_keep_to_the_budget():
    vocabulary = MAX_LOGITS // 100
    model = SimpleNamespace(config=SimpleNamespace(get_text_config=lambda: SimpleNamespace(vocab_size=vocabulary)))
    passages = [ScoredPassage([1], [2] * length) for length in (9, 49, 39, 149, 19)]
    found = list(batches(model, passages))
    assert [[passage.length for passage in batch] for batch in found] == [[10, 20], [40, 50], [150]]


def test_every_passage_has_its_own_losses_in_its_place(model):
    together = token_losses(model, PASSAGES)
    assert [len(losses) for losses in together] == [len(passage.target_ids) for passage in PASSAGES]
    for passage, losses in zip(PASSAGES, together, strict=True):
        assert sum(losses) == pytest.approx(alone(model, passage.context_ids, passage.target_ids), rel=1e-5)


def test_loss_of_a_model_that_knows_nothing_is_the_logarithm_of_its_vocabulary(clueless, tokenizer):
    exchanges = [("Hi", "Hello there."), ("How are you today?", "I am fine.")]
    for losses in answer_losses(clueless, tokenizer, exchanges):
        assert losses == pytest.approx([math.log(len(tokenizer))] * len(losses), rel=1e-6)
    assert retention_loss(clueless, tokenizer) == pytest.approx(math.log(len(tokenizer)), rel=1e-6)


def test_answers_alone_are_judged_as_plain_dialogue(model, tokenizer):
    context = tokenizer("User: How are you?\nBot:")["input_ids"]
    answer = tokenizer(" I am fine.")["input_ids"]
    (found,) = answer_losses(model, tokenizer, [(" How are you? ", "\nI am fine. ")])
    assert len(found) == len(answer)
    assert sum(found) == pytest.approx(alone(model, context, answer), rel=1e-5)


def test_empty_answers_are_skipped(model, tokenizer):
    spoken = [("Hi", "Hello.")]
    found = answer_losses(model, tokenizer, [*spoken, ("Hi", ""), ("Hi", " \n")])
    assert len(found) == 1
    assert found[0] == pytest.approx(answer_losses(model, tokenizer, spoken)[0])


BASELINE = losses_by_position([[6.0, 2.0, 1.0], [4.0, 2.0]])


def test_baseline_is_the_mean_loss_at_each_position():
    assert BASELINE == (5.0, 2.0, 1.0)
    assert losses_by_position([]) == ()


@pytest.mark.parametrize("last", [0.1, 9.0])
def test_one_long_answer_does_not_decide_what_long_answers_may_cost(last):
    baseline = losses_by_position([[2.0] * 10] * 23 + [[2.0] * 10 + [last]])
    assert len(baseline) == 10
    assert surprise_ratio([[2.0] * 20], baseline) == pytest.approx(1.0, abs=0.1)
    assert surprise_ratio([[4.0] * 20], baseline) == pytest.approx(2.0, abs=0.2)


@given(st.lists(st.lists(st.floats(0.1, 20.0), min_size=1), min_size=1))
def test_answers_are_as_surprising_as_themselves(losses):
    assert surprise_ratio(losses, losses_by_position(losses)) == pytest.approx(1.0)


@pytest.mark.parametrize("length", [1, 2, 3, 9])
def test_short_and_long_answers_are_set_against_tokens_at_the_same_positions(length):
    usual = [BASELINE[min(position, 2)] for position in range(length)]
    assert surprise_ratio([usual], BASELINE) == pytest.approx(1.0)
    assert surprise_ratio([[loss * 1.5 for loss in usual]], BASELINE) == pytest.approx(1.5)


def test_the_highest_loss_counts_at_each_position():
    assert highest([(3.0, 1.0), (), (2.0, 2.0, 0.5, 1.5)]) == (3.0, 2.0, 1.0, 1.5)
    assert highest([(), ()]) == highest([]) == ()


def test_version_is_as_good_as_what_people_liked_though_the_base_is_more_predictable():
    """Losses of a real base: its own answers, those that members liked, and a version that learned them."""
    base, liked, version = [[2.0] + [1.2] * 40], [[6.0] + [3.8] * 15], [[5.5] + [3.1] * 14]
    assert surprise_ratio(version, losses_by_position(base)) > 2.0
    assert surprise_ratio(version, highest([losses_by_position(base), losses_by_position(liked)])) < 1.0


def test_shuffled_words_are_the_same_ones_in_another_order():
    said = "Nine minutes or so, but taste one before you drain it."
    shuffled = shuffle_words(said, random.Random(1))
    assert shuffled != said
    assert Counter(shuffled.split()) == Counter(said.split())


@pytest.mark.parametrize("said", ["日本の首都は東京です。", "ເມືອງຫຼວງຂອງລາວແມ່ນວຽງຈັນ"])
def test_languages_without_spaces_are_shuffled_by_character(said):
    shuffled = shuffle_words(said, random.Random(1))
    assert shuffled != said
    assert sorted(shuffled) == sorted(said)


def test_korean_is_shuffled_by_word():
    said = "오늘은 날씨가 정말 좋아서 걸었어요."
    assert Counter(shuffle_words(said, random.Random(1)).split()) == Counter(said.split())


@pytest.mark.parametrize("said", ["", "Yes.", "Oats and milk"])
def test_a_few_words_are_not_shuffled(said):
    assert shuffle_words(said, random.Random(1)) == ""


def test_human_answers_are_two_dozen_whole_ones():
    exchanges = human_exchanges()
    assert [message for message, _ in exchanges] == [*NEUTRAL_MESSAGES]
    assert degenerate_share([answer for _, answer in exchanges]) == 0.0
    assert all(answer[-1] in ".?!" for _, answer in exchanges)


def test_nothing_said_has_no_ratio():
    assert math.isnan(surprise_ratio([], BASELINE))
    assert math.isnan(surprise_ratio([[1.0]], ()))


def test_retention_text_is_varied_and_short():
    passages = retention_text().split("\n---\n")
    assert len(passages) >= 8
    assert 600 <= sum(len(passage.split()) for passage in passages) <= 950
    assert all(passage.strip() for passage in passages)


def test_retention_loss_is_the_mean_over_all_passages(model, tokenizer):
    ids = [tokenizer(passage.strip())["input_ids"] for passage in retention_text().split("\n---\n")]
    expected = sum(alone(model, row[:1], row[1:]) for row in ids) / sum(len(row) - 1 for row in ids)
    assert retention_loss(model, tokenizer) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(
    ("answers", "share"),
    [
        (["I like tea very much.", "I like tea very much!", "The sea is wide."], 2 / 3),
        (["Yes.", "Yes!", "No."], 2 / 3),
        (["The dog sleeps.", "A cat sings.", ""], 0.0),
        (["", ""], 0.0),
        (["I am fine, thank you, and how are you today?", "I am fine."], 1 / 2),
    ],
)
def test_answers_that_repeat_each_other_are_counted(answers: list[str], share: float) -> None:
    """The last: all of the short one is in the long one, of which it is a small part."""
    assert alike_share(answers) == pytest.approx(share)


def test_share_of_broken_answers():
    assert degenerate_share(["Yes.", "", "...", "Good morning!"]) == 0.5
