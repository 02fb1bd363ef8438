"""Runs the trainer as a child process of the bot, restarts it if it exits, and stops it with the bot."""

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
    """Keep a trainer process running until the context exits; restart it if it exits earlier."""
    command = [sys.executable, "-m", "reactune", "trainer", "--until-stdin-closes"]
    command += ["--config", str(config)] if config else []
    ending = threading.Event()

    def keep_running() -> None:
        while not ending.is_set():
            # The pipe closes when this process ends for any reason, and then the trainer stops. It has its own session,
            # so that Ctrl-C does not reach it directly.
            process = subprocess.Popen(
                command, env={**os.environ, **overrides}, stdin=subprocess.PIPE, start_new_session=True
            )
            while process.poll() is None and not ending.wait(0.2):
                pass
            if ending.is_set():
                _stop(process)
                return
            log.error("The trainer exited with code %s; restarting it in %g s.", process.returncode, RESTART_PAUSE_S)
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
