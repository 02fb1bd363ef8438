"""Answers drawn from a model, many at once: each belongs to its prompt, and chance can be repeated."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from storage.models.base_model import BaseModel
from storage.models.memory import NumberFormat
from storage.settings.sections import GenerationSettings, ModelSettings, TrainingSettings
from tests.trainer.evaluation.test_evaluate import teach
from trainer.base import RoundBase
from trainer.evaluation.sampling import BATCH_PROMPTS, Sample, Sampler, split_by_memory
from trainer.training.recipes import DPO, TrainingSplit
from trainer.training.rows import PreferencePair
from trainer.training.train import TrainingJob, train_adapter

GREEDY = GenerationSettings(temperature=0.0, presence_penalty=0.0, max_new_tokens=6)
WARM = GenerationSettings(temperature=1.5, top_p=1.0, presence_penalty=0.0, max_new_tokens=6)
SHORT = "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
LONG = "<|im_start|>user\nTell me a joke, please, about soup<|im_end|>\n<|im_start|>assistant\n"


@pytest.fixture(scope="module")
def sampler(tiny_base: BaseModel) -> Sampler:
    return Sampler.load(RoundBase(tiny_base, ModelSettings()), None, NumberFormat("float32"))


def texts(samples: list[Sample]) -> list[str]:
    return [sample.text for sample in samples]


def test_every_prompt_gets_its_own_answer_in_order(sampler: Sampler) -> None:
    """Prompts of unlike length share a batch, which pads the shorter ones, and come back in the order asked."""
    together = sampler.answer([LONG, SHORT, LONG], GREEDY, seed=1)
    alone = [sampler.answer([prompt], GREEDY, seed=1)[0] for prompt in (LONG, SHORT, LONG)]
    assert texts(together) == texts(alone)
    for sample, prompt in zip(together, (LONG, SHORT, LONG), strict=True):
        assert sampler.tokenizer.decode(sample.prompt_ids) == prompt


def test_equal_seeds_give_equal_answers_and_equal_prompts_unequal_ones(sampler: Sampler) -> None:
    first = texts(sampler.answer([SHORT] * 4, WARM, seed=5))
    assert texts(sampler.answer([SHORT] * 4, WARM, seed=5)) == first
    assert texts(sampler.answer([SHORT] * 4, WARM, seed=6)) != first
    assert len(set(first)) > 1


def test_chance_elsewhere_is_left_alone(sampler: Sampler) -> None:
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    sampler.answer([SHORT], WARM, seed=5)
    assert torch.rand(1) == expected


def test_an_answer_that_reaches_the_limit_is_cut_there(sampler: Sampler) -> None:
    (sample,) = sampler.answer([SHORT], GREEDY, seed=1)
    assert sample.is_cut
    assert len(sample.answer_ids) == 6
    (shorter,) = sampler.answer([SHORT], GREEDY.model_copy(update={"max_new_tokens": 3}), seed=1)
    assert shorter.answer_ids == sample.answer_ids[:3]


def test_an_answer_that_ends_keeps_its_end_token_and_nothing_after(tiny_base: BaseModel) -> None:
    taught = Sampler.load(RoundBase(tiny_base, ModelSettings()), None, NumberFormat("float32"))
    teach(taught.model, taught.tokenizer, "Yes, of course.<|im_end|>", steps=60, learning_rate=1e-2)
    patient = GREEDY.model_copy(update={"max_new_tokens": 60})
    short, long = taught.answer([SHORT, LONG], patient, seed=1)
    assert (short.text, short.is_cut, long.text) == ("Yes, of course.", False, "Yes, of course.")
    eos = taught.tokenizer.eos_token_id
    assert (short.answer_ids.count(eos), short.answer_ids[-1]) == (1, eos)


def test_an_adapter_answers_and_can_be_turned_off(tiny_base: BaseModel, sampler: Sampler, tmp_path: Path) -> None:
    pairs = [PreferencePair(SHORT, "Yes, of course.", "No, sorry.")] * 4
    settings = TrainingSettings(dtype="float32", learning_rate=2e-2, epochs=6, lora_rank=8)
    train_adapter(TrainingJob(DPO, TrainingSplit(tuple(pairs)), settings, tiny_base, tmp_path), lambda _progress: None)
    adapted = Sampler.load(RoundBase(tiny_base, ModelSettings()), tmp_path, NumberFormat("float32"))
    (of_base,) = texts(sampler.answer([SHORT], GREEDY, seed=1))
    assert texts(adapted.answer([SHORT], GREEDY, seed=1)) != [of_base]
    with adapted.model.disable_adapter():
        assert texts(adapted.answer([SHORT], GREEDY, seed=1)) == [of_base]


def test_a_penalty_keeps_words_of_the_answer_from_coming_again_but_not_the_prompts(sampler: Sampler) -> None:
    penalised = GREEDY.model_copy(update={"presence_penalty": 2.0, "max_new_tokens": 12})
    free = GREEDY.model_copy(update={"max_new_tokens": 12})
    (with_penalty,), (without,) = (sampler.answer([LONG], chosen, seed=1) for chosen in (penalised, free))
    assert len(set(with_penalty.answer_ids)) > len(set(without.answer_ids))
    assert with_penalty.answer_ids[0] == without.answer_ids[0], "the first word has nothing to repeat"


def test_progress_counts_answers(sampler: Sampler) -> None:
    """Unfinished ones as a fraction."""
    seen: list[float] = []
    two_words = GREEDY.model_copy(update={"max_new_tokens": 2})
    sampler.answer([SHORT] * (BATCH_PROMPTS + 3), two_words, seed=1, advance=seen.append)
    assert seen == [0, BATCH_PROMPTS / 2, *[BATCH_PROMPTS] * 2, BATCH_PROMPTS + 1.5, *[BATCH_PROMPTS + 3] * 2]
    assert sampler.answer([], two_words, seed=1) == []


def test_a_prompt_is_rendered_as_it_is_served(sampler: Sampler) -> None:
    assert sampler.chat.render([{"role": "user", "content": "Hi"}]) == SHORT


@pytest.mark.parametrize(("memory_failures", "at_once"), [(0, 8), (11, 1)])
def test_batches_shrink_after_rounds_in_which_memory_ran_out(
    sampler: Sampler, memory_failures: int, at_once: int
) -> None:
    """Each halves BATCH_TOKENS: after 11 of them, 16 are left, fewer than a prompt and its answer have."""
    less = Sampler(sampler.model, sampler.chat, memory_failures=memory_failures)
    counted: list[float] = []
    less.answer([LONG] * 8, WARM, seed=1, advance=counted.append)
    ends = {0.0, *range(at_once, 9, at_once)}
    assert ends <= set(counted)
    assert counted[-1] == 8
    assert (1 in counted) == (at_once == 1)


def test_long_prompts_are_answered_in_smaller_batches():
    assert split_by_memory([10] * 70, 256) == [list(range(64)), list(range(64, 70))]
    assert split_by_memory([2_000, 30, 2_000, 20], 16_000) == [[3, 1], [0], [2]]
    assert split_by_memory([50_000, 50_000], 256) == [[0], [1]]
    assert split_by_memory([], 256) == []
    assert split_by_memory([10] * 5, 90, most_tokens=200) == [[0, 1], [2, 3], [4]]
