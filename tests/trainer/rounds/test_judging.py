"""The gate judges what was trained, and what the trained model held is free by then."""

from __future__ import annotations

import weakref
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import pytest

from storage.adapters.folder_store import AdapterStore
from storage.database.enums import TrainingSource
from storage.models.base_model import BaseModel, load_on_device
from storage.settings.sections import Settings
from tests.trainer.contexts import quiet, serving_of
from tests.trainer.training.test_dpo import PAIRS, SETTINGS
from trainer.rounds.distributed import train_on_all
from trainer.rounds.judging import RoundJudge
from trainer.training.recipes import DPO, TrainingSplit
from trainer.training.train import TrainingJob, train_adapter


class Judged(Exception):
    pass


def test_the_trained_model_is_gone_before_the_gate_loads_its_own(
    tiny_base: BaseModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two models of 15 GB do not fit on a GPU of 24."""
    trained: list[weakref.ref[Any]] = []

    def load_followed(*arguments: Any, **setting: Any) -> Any:
        model = load_on_device(*arguments, **setting)
        trained.append(weakref.ref(model))
        return model

    def evaluate(*_arguments: object) -> NoReturn:
        raise Judged(*(model() for model in trained))

    monkeypatch.setattr("trainer.training.train.load_on_device", load_followed)
    settings = Settings(training=SETTINGS)
    store = AdapterStore(tmp_path / "adapters")
    judge = RoundJudge(serving_of(settings, tiny_base), settings.gate, TrainingSource.VOTES, store, evaluate)
    with store.stage() as staging:
        job = TrainingJob(DPO, TrainingSplit(tuple(PAIRS[:2])), SETTINGS, tiny_base, staging)
        with pytest.raises(Judged) as reached:
            judge.judge(staging, train_on_all(partial(train_adapter, job), settings, quiet))
    assert reached.value.args == (None,)
