"""The memory that a round needs: refused, tried or plenty."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from storage.database.enums import TrainingSource
from storage.models.base_model import BaseModel
from storage.models.free_memory import FreeMemory, memory_for_training
from storage.models.memory import MARGIN, round_bytes
from storage.releases.versions import StartingPoint
from storage.settings.sections import ModelSettings, TrainingSettings
from trainer.base import RoundBase
from trainer.data.dataset import TrainingSet
from trainer.errors import TooLittleMemory
from trainer.rounds.readiness import (
    MAY_FAIL_ONCE,
    NO_ESTIMATE,
    ROOMY_TIMES,
    check_round_memory,
    is_roomy,
    memory_of_round,
    plan_memory,
)
from trainer.training.memory_plan import SMALLER
from trainer.training.recipes import DPO, TrainingSplit

TRAINING = TrainingSettings(dtype="float32")


@pytest.fixture
def base(tiny_base: BaseModel) -> RoundBase:
    return RoundBase(tiny_base, ModelSettings(engine="transformers"))


def needed(base: RoundBase) -> int:
    assert base.shape is not None
    return round(round_bytes(base.shape, base.served, TRAINING))


def test_a_round_is_refused_only_if_the_estimate_does_not_fit_without_its_margin(base: RoundBase) -> None:
    enough, tight, little = (FreeMemory(round(share * needed(base)), 2**40) for share in (1.01, 0.99, 0.99 / MARGIN))
    assert check_round_memory(base, TRAINING, enough) == "needs about 2.0 GB of memory, 2.0 GB free"
    assert check_round_memory(base, TRAINING, tight).endswith(MAY_FAIL_ONCE)
    with pytest.raises(TooLittleMemory):
        check_round_memory(base, TRAINING, little)


def test_only_a_gpu_with_much_memory_is_roomy(base: RoundBase) -> None:
    much, less = (FreeMemory(ROOMY_TIMES * needed(base) + more, 2**40, is_gpu=True) for more in (1_000, -1_000))
    found = [is_roomy(base, TRAINING, memory) for memory in (much, less, replace(much, is_gpu=False))]
    assert found == [True, False, False]


def test_processes_share_the_memory_and_an_engine_that_leaves_frees_its_own() -> None:
    training = TRAINING.model_copy(update={"processes": 2})
    assert memory_of_round(training, engine_leaves=True).free == memory_for_training().total // 2


def test_a_base_of_unknown_size_computes_less_too_after_memory_ran_out(base: RoundBase, tmp_path: Path) -> None:
    unknown = replace(base, model=replace(base.model, path=tmp_path))
    assert check_round_memory(unknown, TRAINING, FreeMemory(0, 1)) == NO_ESTIMATE
    examples = TrainingSet(DPO, TrainingSplit(()), TRAINING, TrainingSource.VOTES, StartingPoint(None))
    planned = plan_memory(examples, unknown, failures=1)
    assert (planned.recipe.plan, planned.memory_failures) == (SMALLER[0], 1)
