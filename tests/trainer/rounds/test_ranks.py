"""Several processes train as one does, on the same pairs; where one of them fails, the round fails with a sentence."""

from __future__ import annotations

import os
import signal
import time
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from safetensors.torch import load_file

from storage.adapters.folder_store import WEIGHTS_FILE
from storage.models.base_model import BaseModel
from storage.settings.sections import Settings, TrainingSettings
from tests.trainer.training.test_dpo import PROMPT
from trainer.errors import TrainerError
from trainer.progress import Phase, ReportProgress
from trainer.rounds.distributed import train_on_all
from trainer.training.recipes import DPO, TrainingSplit
from trainer.training.rows import PreferencePair
from trainer.training.train import TrainingJob, TrainingMetrics, train_adapter

pytestmark = pytest.mark.ranks

NAMES = ("Ana", "Bo", "Cy", "Di", "Eve", "Flo", "Gus", "Hal", "Ida", "Jo", "Kit", "Lea")
PAIRS = [
    PreferencePair(PROMPT.format(name), "Yes, of course.", "No, sorry.", weight=0.5 + place / 10)
    for place, name in enumerate(NAMES)
]
SETTINGS = TrainingSettings(dtype="float32", learning_rate=5e-3, epochs=2, patience=2, lora_rank=4, batch_size=4)


TWO = Settings(training=SETTINGS.model_copy(update={"processes": 2}))


def fail(kills: bool, _report: ReportProgress) -> TrainingMetrics:
    """Fail in the second process while the first one waits for it."""
    import torch.distributed

    torch.distributed.init_process_group("gloo")
    if os.environ["RANK"] == "1" and kills:
        os.kill(os.getpid(), signal.SIGKILL)
    if os.environ["RANK"] == "1":
        raise TrainerError("the loss became NaN or infinite at step 3: lower training.learning_rate")
    torch.distributed.barrier()
    raise AssertionError("the second process never gets here")


def run_endlessly(folder: Path, _report: ReportProgress) -> TrainingMetrics:
    """Run until the process is ended; each process holds a lock while it lives."""
    lock = FileLock(folder / f"{os.environ['RANK']}.lock")
    lock.acquire()
    (folder / f"{os.environ['RANK']}.runs").touch()
    while True:
        time.sleep(60.0)


def train_endlessly(folder: Path) -> None:
    train_on_all(partial(run_endlessly, folder), TWO, lambda _progress: None)


def train(base: BaseModel, output: Path, **changes: Any) -> tuple[TrainingMetrics, dict[str, Any], list[Phase]]:
    settings = SETTINGS.model_copy(update=changes)
    phases: list[Phase] = []
    job = TrainingJob(DPO, TrainingSplit(tuple(PAIRS[:8]), tuple(PAIRS[8:10]) * 4), settings, base, output)
    metrics = train_on_all(
        partial(train_adapter, job), Settings(training=settings), lambda progress: phases.append(progress.phase)
    )
    return metrics, load_file(output / WEIGHTS_FILE), phases


def test_two_processes_make_the_adapter_of_one(tiny_base: BaseModel, tmp_path: Path) -> None:
    alone, weights, _ = train(tiny_base, tmp_path / "one")
    together, shared, phases = train(tiny_base, tmp_path / "two", processes=2)
    assert {Phase.LOADING, Phase.REFERENCE, Phase.TRAINING, Phase.VALIDATING} <= set(phases)
    assert (together.steps, together.pairs, together.epochs_trained) == (alone.steps, alone.pairs, alone.epochs_trained)
    assert together.loss_curve == pytest.approx(alone.loss_curve, abs=1e-4)
    assert together.validation_margin == pytest.approx(alone.validation_margin, abs=1e-3)
    assert shared.keys() == weights.keys()
    for name, weight in weights.items():
        assert (shared[name] - weight).abs().max() < 1e-3, name
    assert sorted(path.name for path in (tmp_path / "two").iterdir()) == sorted(
        path.name for path in (tmp_path / "one").iterdir()
    )


@pytest.mark.parametrize(
    ("kills", "says"),
    [
        (False, "the loss became NaN or infinite at step 3: lower training.learning_rate"),
        (True, "process 1 of this round's training was killed by SIGKILL: start a new round"),
    ],
)
def test_one_that_fails_ends_the_others(kills: bool, says: str) -> None:
    with pytest.raises(TrainerError, match=says):
        train_on_all(partial(fail, kills), TWO, lambda _progress: None)


def test_they_end_with_the_process_that_started_them(tmp_path: Path) -> None:
    process = get_context("spawn").Process(target=train_endlessly, args=(tmp_path,))
    process.start()
    while not all((tmp_path / f"{rank}.runs").exists() for rank in range(2)):
        assert process.is_alive()
        time.sleep(0.1)
    process.kill()
    process.join()
    for rank in range(2):
        FileLock(tmp_path / f"{rank}.lock").acquire(timeout=60.0)
