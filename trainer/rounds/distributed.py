"""One training on several processes, the ranks: each takes its part of every step, and the first one saves.

They are started by PyTorch, as accelerate's launchers do, but spawned: `notebook_launcher` forks, which neither CUDA
nor PyTorch's threads survive. `accelerate launch` starts one process where there is no GPU; where there are some, the
ranks go on when its agent is killed.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from storage.errors import StorageError
from storage.models.base_model import BaseModel
from storage.models.hardware import gpu_count
from storage.settings.sections import Settings
from trainer.child_process import set_up_child
from trainer.data.dataset import TrainingSet
from trainer.errors import TrainerError
from trainer.progress import Report, ReportProgress
from trainer.training.common import TrainingMetrics

POLL_S = 0.2

log = logging.getLogger(__name__)


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
    train = partial(material.train, base=base, parent=parent, output=output)
    ranks = settings.training.processes
    if ranks == 1:
        return train(report=report)
    gpus = gpu_count()
    if 0 < gpus < ranks:
        raise TrainerError(f"training.processes = {ranks} needs as many GPUs, and this machine has {gpus}: lower it")
    from accelerate.utils import PrepareForLaunch, patch_environment
    from accelerate.utils.other import get_free_port
    from torch.multiprocessing.spawn import start_processes

    said: Any = get_context("spawn").SimpleQueue()
    # As `accelerate launch` sets them, so that no file of it has to be written.
    with patch_environment(world_size=ranks, master_addr="127.0.0.1", master_port=get_free_port(), nproc=ranks):
        running = start_processes(  # type: ignore[no-untyped-call]
            PrepareForLaunch(_run_rank, distributed_type="MULTI_GPU" if gpus else "MULTI_CPU"),
            args=(train, settings, logging.getLogger().getEffectiveLevel(), said),
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

    heard: list[TrainingMetrics | str] = []
    try:
        while not running.join(timeout=POLL_S):
            heard += _hear(said, report)
    except (ProcessRaisedException, ProcessExitedException) as error:
        reasons = [message for message in [*heard, *_hear(said, report)] if isinstance(message, str)]
        raise TrainerError(reasons[0] if reasons else _describe(error)) from error
    heard += _hear(said, report)
    return next(message for message in heard if isinstance(message, TrainingMetrics))


def _hear(said: Any, report: Report) -> list[TrainingMetrics | str]:
    """Report the progress in the queue, and return the rest: what was measured, and why a rank failed."""
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


def _run_rank(train: Callable[..., TrainingMetrics], settings: Settings, log_level: int, said: Any) -> None:
    is_first = os.environ["RANK"] == "0"
    set_up_child(settings, f"round.{os.environ['RANK']}", log_level if is_first else logging.ERROR)
    try:
        metrics = train(report=said.put if is_first else _unheard)
    except (TrainerError, StorageError) as error:
        said.put(str(error))
        raise
    if is_first:
        said.put(metrics)
    import torch.distributed

    torch.distributed.destroy_process_group()


def _unheard(_progress: ReportProgress) -> None:
    pass
