"""One training on several processes, the ranks: each takes its part of every step, and the first one saves."""

from __future__ import annotations

import logging
import os
import socket
from contextlib import closing
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from storage.errors import StorageError
from storage.models.base_model import BaseModel
from storage.models.hardware import gpu_count
from storage.runtime.log_setup import set_up_logs
from storage.runtime.redaction import redact_secrets
from storage.settings.sections import Settings, TrainingSettings
from trainer.data.dataset import TrainingSet
from trainer.errors import TrainerError
from trainer.progress import Report, ReportProgress
from trainer.rounds.process import exit_with_parent, keep_locks_inside
from trainer.training.common import TrainingMetrics

POLL_S = 0.2

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Task:
    material: TrainingSet
    base: BaseModel
    parent: Path | None
    output: Path
    settings: Settings
    log_level: int

    def run(self, report: Report) -> TrainingMetrics:
        return self.material.train(base=self.base, parent=self.parent, output=self.output, report=report)


@dataclass(frozen=True)
class _Failure:
    reason: str


def train_on_all(
    material: TrainingSet,
    settings: Settings,
    *,
    base: BaseModel,
    parent: Path | None,
    output: Path,
    report: Report,
) -> TrainingMetrics:
    """Train here, or on `training.processes` ranks that learn from the same pairs; raises as `Material.train` does.

    Raises TrainerError as well where there are fewer GPUs than ranks, or where one of them dies: the others end then.
    """
    ranks = settings.training.processes
    if ranks == 1:
        return material.train(base=base, parent=parent, output=output, report=report)
    _require_devices(settings.training)
    from accelerate.utils import PrepareForLaunch, patch_environment
    from torch.multiprocessing.spawn import start_processes

    said: Any = get_context("spawn").SimpleQueue()
    launch = PrepareForLaunch(_run_rank, distributed_type="MULTI_GPU" if gpu_count() else "MULTI_CPU")
    # As `accelerate launch` sets them, so that no file of it has to be written.
    with patch_environment(world_size=ranks, master_addr="127.0.0.1", master_port=_free_port(), nproc=ranks):
        running = start_processes(  # type: ignore[no-untyped-call]
            launch,
            args=(_Task(material, base, parent, output, settings, logging.getLogger().getEffectiveLevel()), said),
            nprocs=ranks,
            join=False,
            start_method="spawn",
        )
    try:
        return _follow(running, said, report)
    finally:
        for process in running.processes:
            process.kill()
            process.join()


def _follow(running: Any, said: Any, report: Report) -> TrainingMetrics:
    """Pass on what the ranks say until all have ended, and return what the first one measured."""
    from torch.multiprocessing.spawn import ProcessExitedException, ProcessRaisedException

    heard: list[TrainingMetrics | _Failure] = []
    try:
        while not running.join(timeout=POLL_S):
            heard += _hear(said, report)
        heard += _hear(said, report)
    except (ProcessRaisedException, ProcessExitedException) as error:
        heard += _hear(said, report)
        reasons = [message.reason for message in heard if isinstance(message, _Failure)]
        raise TrainerError(reasons[0] if reasons else _describe(error)) from error
    return next(message for message in heard if isinstance(message, TrainingMetrics))


def _hear(said: Any, report: Report) -> list[TrainingMetrics | _Failure]:
    heard = []
    while not said.empty():
        message = said.get()
        if isinstance(message, ReportProgress):
            report(message)
        else:
            heard.append(message)
    return heard


def _describe(error: Any) -> str:
    """Say in a sentence why a rank is gone, though it did not say so itself."""
    log.error("%s", error)
    signal = getattr(error, "signal_name", None)
    how = f"was killed by {signal}, probably because memory ran out" if signal else "ended with an unexpected error"
    return f"process {error.error_index} of this round's training {how}: the trainer's log has the details"


def _run_rank(task: _Task, said: Any) -> None:
    exit_with_parent()
    keep_locks_inside()
    is_first = os.environ["RANK"] == "0"
    redact_secrets(task.settings)
    set_up_logs(task.settings, f"round.{os.environ['RANK']}", least=task.log_level if is_first else logging.ERROR)
    try:
        metrics = task.run(said.put if is_first else _unheard)
    except (TrainerError, StorageError) as error:
        said.put(_Failure(str(error)))
        raise
    if is_first:
        said.put(metrics)
    import torch.distributed

    torch.distributed.destroy_process_group()


def _unheard(_progress: ReportProgress) -> None:
    pass


def _require_devices(settings: TrainingSettings) -> None:
    gpus = gpu_count()
    if 0 < gpus < settings.processes:
        raise TrainerError(
            f"training.processes = {settings.processes} needs as many GPUs, and this machine has {gpus}: lower it"
        )


def _free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
