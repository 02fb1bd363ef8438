"""A round's own process: it may crash, run out of memory or be ended, and the trainer goes on."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
from multiprocessing.context import SpawnProcess

from storage.settings.sections import Settings
from trainer.child_process import set_up_child

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


def _run(settings: Settings, round_id: int, log_level: int) -> None:
    set_up_child(settings, "round", log_level)
    os.nice(settings.training.niceness)

    from trainer.rounds.round import run_round

    run_round(settings, round_id)
