"""A round's own process: it may crash, run out of memory or be ended, and the trainer goes on."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import threading
from multiprocessing.connection import wait
from multiprocessing.context import SpawnProcess

from tqdm import tqdm

from storage.runtime.log_setup import set_up_logs
from storage.runtime.redaction import redact_secrets
from storage.settings.sections import Settings

ENDING_S = 10.0


def start_process(settings: Settings, round_id: int) -> SpawnProcess:
    """Start a process that runs the claimed round."""
    # Spawned, not forked: PyTorch's threads and the database's connections do not survive a fork.
    process = multiprocessing.get_context("spawn").Process(
        target=_run, args=(settings, round_id, logging.getLogger().getEffectiveLevel()), name=f"round-{round_id}"
    )
    process.start()
    return process


def end_process(process: SpawnProcess) -> None:
    """End the process, by force where it does not go within ENDING_S seconds; one that has ended is left alone."""
    process.terminate()
    process.join(ENDING_S)
    process.kill()
    process.join()


def describe_exit(exit_code: int | None) -> str:
    """Say in a sentence why a round's process is gone, though it did not say so itself."""
    if exit_code == -signal.SIGKILL:
        return (
            "the round's process was killed by signal 9, probably because memory ran out: "
            "lower training.batch_size or training.max_tokens, or choose a smaller model.base"
        )
    if exit_code is not None and exit_code < 0:
        return (
            f"the round's process was killed by signal {-exit_code} ({signal.strsignal(-exit_code)}): ask for a new one"
        )
    return f"the round's process ended with exit code {exit_code}: the trainer's log says why"


def exit_with_parent() -> None:
    """End this process as soon as the one that spawned it is gone, however it went."""
    parent = multiprocessing.parent_process()
    assert parent is not None, "this process was not spawned by another one"

    def watch() -> None:
        wait([parent.sentinel])
        os._exit(1)  # sys.exit would end this thread alone

    threading.Thread(target=watch, name="exit-with-parent", daemon=True).start()


def keep_locks_inside() -> None:
    """Let progress bars, even those that are not shown, be guarded by a lock that ends with this process.

    tqdm's own is a semaphore of the system: Python warns of it as leaked where the process that made it was killed.
    """
    tqdm.set_lock(threading.RLock())


def _run(settings: Settings, round_id: int, log_level: int) -> None:
    exit_with_parent()
    keep_locks_inside()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole terminal; the trainer decides
    os.nice(settings.training.niceness)
    redact_secrets(settings)
    set_up_logs(settings, "round", least=log_level)

    from trainer.rounds.round import run_round

    run_round(settings, round_id)
