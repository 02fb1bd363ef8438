"""`reactune run`, `bot` and `trainer`: the processes of a server. With `run`, the trainer is a child of the bot."""

from __future__ import annotations

import contextlib
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from reactune.shared import Config, progress, read_settings
from storage.runtime.log_setup import set_up_logs
from storage.runtime.processes import BOT, DETACHED, TRAINER
from storage.settings.sections import Settings

log = logging.getLogger(__name__)

RESTART_PAUSE_S = 10.0
STOP_S = 20.0
NEEDS_PERSON = 2
"""Exit code after which a restart does not help, as with wrong settings."""


def run(config: Config = None) -> None:
    """Run the bot on Discord, together with the trainer."""
    from bot.runner import require_token, run_bot
    from storage.runtime.schedules import parse_schedule
    from trainer.rounds.schedule import SETTING

    settings = read_settings(config)
    set_up_logs(settings, BOT)
    parse_schedule(SETTING, settings.training.schedule)
    require_token(settings)
    with progress() as say:
        prepare_base(settings, say)
    with supervised_trainer(config, {}):
        run_bot(settings)


def serve(config: Config = None) -> None:
    """Run the bot on Discord, without the trainer."""
    from bot.runner import run_bot

    settings = read_settings(config)
    set_up_logs(settings, BOT)
    run_bot(settings)


def trainer(
    config: Config = None,
    until_stdin_closes: Annotated[bool, typer.Option(hidden=True, help="Stop when the parent process ends.")] = False,
) -> None:
    """Run the trainer, without the bot: scheduled and requested rounds."""
    from trainer.rounds.worker import run_trainer, stopped_by_signals

    settings = read_settings(config)
    set_up_logs(settings, TRAINER)
    with stopped_by_signals() as stop:
        if until_stdin_closes:
            threading.Thread(target=_stop_with_stdin, args=[stop], daemon=True).start()
        run_trainer(settings, stop)


def _stop_with_stdin(stop: threading.Event) -> None:
    sys.stdin.read()
    stop.set()


def prepare_base(settings: Settings, say: Callable[[str], None]) -> None:
    """Find, download or convert the base model and report progress; only the first time takes a while."""
    from storage.models.base_model import resolve_base_model

    say("Looking for the base model …")
    resolve_base_model(settings.model.base, settings.data.directory, say)


@contextlib.contextmanager
def supervised_trainer(config: Path | None, overrides: dict[str, str]) -> Iterator[None]:
    """Keep a trainer process running until the context exits; restart it unless it exits with 2."""
    command = [sys.executable, "-m", "reactune", "trainer", "--until-stdin-closes"]
    command += ["--config", str(config)] if config else []
    ending = threading.Event()

    def keep_running() -> None:
        while not ending.is_set():
            # The pipe closes when this process ends for any reason, and then the trainer stops.
            with subprocess.Popen(
                command, env={**os.environ, **overrides}, stdin=subprocess.PIPE, **DETACHED
            ) as process:
                while process.poll() is None and not ending.wait(0.2):
                    pass
                if ending.is_set():
                    _stop(process)
                    return
            if process.returncode == NEEDS_PERSON:
                log.error("The trainer stopped and needs you: see its message above. The bot continues without it.")
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


def _stop(process: subprocess.Popen[Any]) -> None:
    process.terminate()
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
