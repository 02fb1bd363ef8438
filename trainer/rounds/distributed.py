"""Sets up the processes of a round, and trains in several at once."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.connection import wait
from typing import Any

from tqdm import tqdm

from storage.errors import StorageError
from storage.models.free_memory import oom_kills
from storage.models.hardware import gpu_count
from storage.runtime.log_setup import set_up_logs
from storage.runtime.redaction import redact_secrets
from storage.sentences import Sentence
from storage.settings.sections import Settings
from storage.training.rounds import MEMORY_RAN_OUT
from storage.wording import gettext_noop
from trainer.errors import TrainerError, is_out_of_memory
from trainer.progress import ReportProgress, RoundProgress
from trainer.training.train import TrainingMetrics

POLL_S = 0.2

TrainReporting = Callable[[ReportProgress], TrainingMetrics]

log = logging.getLogger(__name__)


def set_up_child(settings: Settings, name: str, log_level: int) -> None:
    """Set up a spawned process. `name` appears in its log, which holds nothing below `log_level`."""
    exit_with_parent()
    use_process_local_bar_lock()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes of the terminal; the trainer decides
    redact_secrets(settings)
    set_up_logs(settings, name, least=log_level)


def exit_with_parent() -> None:
    """End this process as soon as its parent has ended, for whatever reason."""
    parent = multiprocessing.parent_process()
    assert parent is not None, "this process was not spawned by another one"

    def watch() -> None:
        wait([parent.sentinel])
        os._exit(1)  # sys.exit would only end this thread

    threading.Thread(target=watch, name="exit-with-parent", daemon=True).start()


def use_process_local_bar_lock() -> None:
    """Guard progress bars, even hidden ones, by a lock that ends with this process.

    tqdm's default lock is a system semaphore. If the process that made it is killed, Python warns that it leaked.
    """
    tqdm.set_lock(threading.RLock())


def train_on_all(train: TrainReporting, settings: Settings, report: ReportProgress) -> TrainingMetrics:
    """Call `train` here, or on `training.processes` ranks that learn from the same examples.

    `train` must be picklable; its errors are raised here. Raises TrainerError also if there are fewer GPUs than ranks,
    or if a rank dies; the other ranks are then ended.
    """
    ranks = settings.training.processes
    if ranks == 1:
        return train(report)
    gpus = gpu_count()
    if 0 < gpus < ranks:
        raise TrainerError(
            gettext_noop("training.processes = {ranks} needs as many GPUs, but this machine has only {gpus}: lower it"),
            ranks=ranks,
            gpus=gpus,
        )
    from accelerate.utils import PrepareForLaunch, patch_environment
    from accelerate.utils.other import get_free_port
    from torch.multiprocessing.spawn import start_processes

    messages: Any = get_context("spawn").SimpleQueue()
    # The same environment as `accelerate launch` sets, without a configuration file.
    with patch_environment(world_size=ranks, master_addr="127.0.0.1", master_port=get_free_port(), nproc=ranks):
        running = start_processes(
            PrepareForLaunch(_run_rank, distributed_type="MULTI_GPU" if gpus else "MULTI_CPU"),
            args=(train, settings, logging.getLogger().getEffectiveLevel(), messages),
            nprocs=ranks,
            join=False,
            start_method="spawn",
        )
    try:
        return _follow(running, messages, report)
    finally:
        for process in running.processes:
            process.kill()
            process.join()


def _follow(running: Any, messages: Any, report: ReportProgress) -> TrainingMetrics:
    """Pass on the ranks' progress until all have ended, and return the first rank's metrics."""
    from torch.multiprocessing.spawn import ProcessExitedException, ProcessRaisedException

    received: list[TrainingMetrics | str] = []
    kills = oom_kills()
    try:
        while not running.join(timeout=POLL_S):
            received += _receive(messages, report)
    except (ProcessRaisedException, ProcessExitedException) as error:
        reasons = [message for message in [*received, *_receive(messages, report)] if isinstance(message, str)]
        raise TrainerError(reasons[0] if reasons else _describe(error, ran_out=oom_kills() > kills)) from error
    received += _receive(messages, report)
    return next(message for message in received if isinstance(message, TrainingMetrics))


def _receive(messages: Any, report: ReportProgress) -> list[TrainingMetrics | str]:
    """Report the progress in the queue, and return the other messages: metrics, or the error of a failed rank."""
    others = []
    while not messages.empty():
        message = messages.get()
        if isinstance(message, RoundProgress):
            report(message)
        else:
            others.append(message)
    return others


def _describe(error: Any, *, ran_out: bool) -> str:
    """Return a sentence about a rank that ended without a message."""
    log.error("%s", error)
    killer = getattr(error, "signal_name", None)
    number = str(error.error_index)
    if killer and ran_out:
        return Sentence(
            "process {number} of this round's training was killed by the kernel because {reason}",
            number=number,
            reason=MEMORY_RAN_OUT,
        )
    if killer:
        return Sentence(
            "process {number} of this round's training was killed by {killer}: start a new round",
            number=number,
            killer=killer,
        )
    return Sentence(
        "process {number} of this round's training ended with an unexpected error: see the trainer's log for details",
        number=number,
    )


def _run_rank(train: TrainReporting, settings: Settings, log_level: int, messages: Any) -> None:
    is_first = os.environ["RANK"] == "0"
    set_up_child(settings, f"round.{os.environ['RANK']}", log_level if is_first else logging.ERROR)
    try:
        metrics = train(messages.put if is_first else lambda _progress: None)
    except (TrainerError, StorageError) as error:
        messages.put(error.sentence)
        raise
    except Exception as error:
        if is_out_of_memory(error):
            messages.put(MEMORY_RAN_OUT)
        raise
    if is_first:
        messages.put(metrics)
    import torch.distributed

    torch.distributed.destroy_process_group()
