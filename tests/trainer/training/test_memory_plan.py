"""How much a round computes at once: the usual, and less after rounds in which memory ran out."""

from __future__ import annotations

import pytest

from storage.models.free_memory import FreeMemory
from storage.settings.sections import TrainingSettings
from trainer.errors import TooLittleMemory, is_out_of_memory
from trainer.training.memory_plan import ROOMY, SMALLER, USUAL, plan_after


def test_a_round_begins_with_the_usual_plan():
    assert plan_after(0) == USUAL
    assert plan_after(0, is_roomy=True) == ROOMY


def test_after_memory_ran_out_the_next_plan_is_a_step_smaller():
    assert [plan_after(failures, is_roomy=True) for failures in (1, 2, 9)] == [USUAL, SMALLER[0], SMALLER[-1]]
    assert [plan_after(failures) for failures in (1, 2, 9)] == [SMALLER[0], SMALLER[1], SMALLER[-1]]


def test_what_does_not_fit_is_refused_in_a_sentence():
    memory = FreeMemory(11_300_000_000, 11_300_000_000, is_gpu=True)
    assert str(TooLittleMemory(18.3e9, memory, TrainingSettings())) == (
        "a round needs about 18.3 GB of GPU memory, 11.3 GB free: stop other programs, set training.quantization = "
        '"4bit", train on a larger machine or choose a smaller model.base'
    )


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
