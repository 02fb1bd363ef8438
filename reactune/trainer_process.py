"""Keeps a trainer running beside the bot, as a process of its own that ends with the one that started it."""

from __future__ import annotations

import contextlib
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

RESTART_PAUSE_S = 10.0
STOP_S = 20.0

log = logging.getLogger(__name__)


@contextlib.contextmanager
def supervised_trainer(config: Path | None, overrides: dict[str, str]) -> Iterator[None]:
    """Keep a trainer process running, started again where it dies, until the context ends."""
    command = [sys.executable, "-m", "reactune", "trainer", "--until-stdin-closes"]
    command += ["--config", str(config)] if config else []
    ending = threading.Event()

    def keep_running() -> None:
        while not ending.is_set():
            # The pipe closes however this process ends, and with it the trainer; a signal to the group is not for it.
            process = subprocess.Popen(
                command, env={**os.environ, **overrides}, stdin=subprocess.PIPE, start_new_session=True
            )
            while process.poll() is None and not ending.wait(0.2):
                pass
            if ending.is_set():
                _stop(process)
                return
            log.error("The trainer ended with code %s; starting it again in %g s.", process.returncode, RESTART_PAUSE_S)
            ending.wait(RESTART_PAUSE_S)

    keeper = threading.Thread(target=keep_running, name="trainer keeper")
    keeper.start()
    try:
        yield
    finally:
        ending.set()
        keeper.join()


def stop_with_stdin(stop: threading.Event) -> None:
    sys.stdin.read()
    stop.set()


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
