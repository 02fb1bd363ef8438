"""How much a round computes at once: what fits, what is refused, and what runs out of memory gets smaller."""

from __future__ import annotations

import pytest

from storage.models.free_memory import FreeMemory
from storage.models.shape import ModelShape
from storage.settings.sections import TrainingSettings
from trainer.errors import TooLittleMemory, is_out_of_memory
from trainer.training.memory_plan import ROOMY, SMALLER, USUAL, RoundMemory, longest_pair

GB = 10**9
QWEN3_8B = ModelShape.of(
    {
        "hidden_size": 4096,
        "num_hidden_layers": 36,
        "intermediate_size": 12_288,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "vocab_size": 151_936,
        "tie_word_embeddings": False,
    }
)
SETTINGS = TrainingSettings(dtype="bfloat16", quantization="4bit")
PAIRS = [longest_pair(160, 40) | {"prompt_ids": [n, *range(119)]} for n in range(12)]


def on(gigabytes: float, *, is_gpu: bool = True, settings: TrainingSettings = SETTINGS) -> RoundMemory:
    return RoundMemory(QWEN3_8B, settings, FreeMemory(int(gigabytes * GB), int(gigabytes * GB), is_gpu=is_gpu))


def test_less_memory_gives_a_slower_plan():
    chosen = [on(free).choose(PAIRS) for free in (70, 12, 8.5, 8.1)]
    assert [each.plan for each in chosen] == [ROOMY, USUAL, SMALLER[0], SMALLER[1]]
    assert [each.needed for each in chosen] == sorted((each.needed for each in chosen), reverse=True)
    assert all(each.needed <= each.free for each in chosen)


def test_a_cpu_never_takes_longer_trees_than_before():
    assert on(1000, is_gpu=False).choose(PAIRS).plan == USUAL


def test_what_does_not_fit_is_refused_in_a_sentence():
    settings = TrainingSettings(dtype="bfloat16", max_tokens=512)
    with pytest.raises(TooLittleMemory) as raised:
        on(11.3, settings=settings).choose(PAIRS)
    assert str(raised.value) == (
        "a round needs about 18.3 GB of GPU memory, 11.3 GB free: stop other programs, set training.quantization = "
        '"4bit", lower training.max_tokens (512) or choose a smaller model.base'
    )


def test_after_memory_ran_out_the_next_plan_is_a_step_smaller():
    assert [on(70).choose(PAIRS, failures).plan for failures in (1, 2, 9)] == [USUAL, SMALLER[0], SMALLER[-1]]


def test_several_processes_compute_their_pairs_of_a_step_undivided():
    """However small the plan, because they wait for each other at every backward pass."""
    alone, together = (
        on(70, settings=SETTINGS.model_copy(update={"batch_size": 8 * processes, "processes": processes}))
        for processes in (1, 2)
    )
    one_pair = alone.needed(PAIRS, SMALLER[-1])
    assert together.needed(PAIRS, SMALLER[-1]) > one_pair
    assert together.needed(PAIRS[:1], SMALLER[-1]) == alone.needed(PAIRS[:1], SMALLER[-1])


class OutOfMemoryError(RuntimeError):
    """As PyTorch calls a full GPU."""


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        OutOfMemoryError("CUDA out of memory"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory"),
        OSError(12, "Cannot allocate memory"),
    ],
)
def test_all_ways_of_running_out_of_memory_are_recognised(error):
    assert is_out_of_memory(error)
    outer = ValueError("the tokenizer cannot be loaded")
    outer.__cause__ = error
    assert is_out_of_memory(outer)


def test_other_errors_are_not_taken_for_it():
    assert not any(map(is_out_of_memory, [RuntimeError("shapes differ"), OSError(28, "No space left"), ValueError()]))
