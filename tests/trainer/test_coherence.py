"""Losses of text that stands already: coherence, retention and divergence."""

import math
from types import SimpleNamespace

import pytest
import torch

from storage.base_model import load_model, load_tokenizer, resolve_base_model
from tests.tiny_model import build_tiny_base
from trainer.coherence import mean_answer_loss
from trainer.likelihood import MAX_LOGITS, Passage, batches, mean_loss
from trainer.retention import retention_loss, retention_text

PASSAGES = [Passage([1, 5, 9], [4, 7]), Passage([3], [8, 2, 6, 300, 12]), Passage([1, 2, 3, 4, 5, 6], [11])]


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("base")
    return resolve_base_model(str(build_tiny_base(folder / "tiny")), folder / "data")


@pytest.fixture(scope="module")
def tokenizer(base):
    return load_tokenizer(base)


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


def test_nothing_to_judge_is_no_number(model):
    assert math.isnan(mean_loss(model, []))


def test_batches_hold_every_passage_and_keep_to_the_budget():
    vocabulary = MAX_LOGITS // 100
    model = SimpleNamespace(config=SimpleNamespace(get_text_config=lambda: SimpleNamespace(vocab_size=vocabulary)))
    passages = [Passage([1], [2] * length) for length in (9, 49, 39, 149, 19)]
    found = list(batches(model, passages))
    assert [[passage.length for passage in batch] for batch in found] == [[10, 20], [40, 50], [150]]


def test_loss_of_a_model_that_knows_nothing_is_the_logarithm_of_its_vocabulary(clueless, tokenizer):
    exchanges = [("Hi", "Hello there."), ("How are you today?", "I am fine.")]
    assert mean_answer_loss(clueless, tokenizer, exchanges) == pytest.approx(math.log(len(tokenizer)), rel=1e-6)
    assert retention_loss(clueless, tokenizer) == pytest.approx(math.log(len(tokenizer)), rel=1e-6)


def test_answers_alone_are_judged_as_plain_dialogue(model, tokenizer):
    context = tokenizer("User: How are you?\nBot:")["input_ids"]
    answer = tokenizer(" I am fine.")["input_ids"]
    found = mean_answer_loss(model, tokenizer, [(" How are you? ", "\nI am fine. ")])
    assert found == pytest.approx(alone(model, context, answer) / len(answer), rel=1e-5)


def test_long_answers_count_by_their_tokens(model, tokenizer):
    short, long = ("Hi", "Yes."), ("Tell me a joke, please!", "No, sorry, I do not know that one.")
    losses = [mean_answer_loss(model, tokenizer, [exchange]) for exchange in (short, long)]
    tokens = [len(tokenizer(f" {answer}")["input_ids"]) for _, answer in (short, long)]
    together = sum(loss * count for loss, count in zip(losses, tokens, strict=True)) / sum(tokens)
    assert mean_answer_loss(model, tokenizer, [short, long]) == pytest.approx(together, rel=1e-5)


def test_empty_answers_are_skipped(model, tokenizer):
    spoken = [("Hi", "Hello.")]
    assert mean_answer_loss(model, tokenizer, [*spoken, ("Hi", ""), ("Hi", " \n")]) == pytest.approx(
        mean_answer_loss(model, tokenizer, spoken)
    )
    assert math.isnan(mean_answer_loss(model, tokenizer, [("Hi", "")]))


def test_retention_text_is_varied_and_short():
    passages = retention_text().split("\n---\n")
    assert len(passages) >= 8
    assert 600 <= sum(len(passage.split()) for passage in passages) <= 950
    assert all(passage.strip() for passage in passages)


def test_retention_loss_is_the_mean_over_all_passages(model, tokenizer):
    ids = [tokenizer(passage.strip())["input_ids"] for passage in retention_text().split("\n---\n")]
    expected = sum(alone(model, row[:1], row[1:]) for row in ids) / sum(len(row) - 1 for row in ids)
    assert retention_loss(model, tokenizer) == pytest.approx(expected, rel=1e-4)
