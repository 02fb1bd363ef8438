"""Runs the trainer as a child process of the bot, restarts it if it exits, and stops it with the bot."""

from __future__ import annotations

import contextlib
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from reactune.console import (
    AsJson,
    Config,
    Personality,
    operator_action,
    operator_name,
    plain_text_of,
    progress,
    read_settings,
    record_command,
    show,
)
from storage.database.enums import TrainingSource
from storage.personalities.personalities import DEFAULT_PERSONALITY
from storage.runtime.log_setup import set_up_logs
from storage.runtime.processes import TRAINER
from storage.wording import count

log = logging.getLogger(__name__)


RESTART_PAUSE_S = 10.0
STOP_S = 20.0


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
            threading.Thread(target=stop_with_stdin, args=[stop], daemon=True).start()
        run_trainer(settings, stop)


def train(
    config: Config = None,
    personality: Personality = DEFAULT_PERSONALITY,
    learns_from: Annotated[
        TrainingSource,
        typer.Option("--from", help="Train on votes and suggestions, or on the example dialogues of the card."),
    ] = TrainingSource.VOTES,
    as_json: AsJson = False,
) -> None:
    """Run one training round now and wait for its result."""
    from bot.text.rounds import describe_round
    from storage.database.enums import RoundStatus
    from trainer.rounds.worker import train_now

    settings, by = read_settings(config), operator_name()
    set_up_logs(settings, "train", least=logging.WARNING)
    with progress() as say:
        record_command(config, personality, operator_action("model train", f"learn_from: {learns_from}"))
        round_ = train_now(
            settings, personality, by, lambda r: say(plain_text_of(describe_round(r))), learns_from=learns_from
        )
    show(asdict(round_), describe_round(round_), as_json)
    if round_.status in (RoundStatus.FAILED, RoundStatus.INTERRUPTED):
        raise typer.Exit(1)


def import_pairs(
    file: Annotated[Path, typer.Argument(help="JSON Lines file with prompt, chosen and rejected, as TRL uses.")],
    config: Config = None,
    personality: Personality = DEFAULT_PERSONALITY,
    as_json: AsJson = False,
) -> None:
    """Import preference pairs to train on."""
    from trainer.exchange import import_file

    counts = import_file(read_settings(config), file, personality)
    record_command(config, personality, operator_action("import", f"file: {file.name}, {counts.imported} pairs"))
    text = f"Imported {count(counts.imported, 'pair')}; {counts.known} already existed."
    show(asdict(counts), text, as_json)


def export_pairs(
    file: Annotated[Path, typer.Argument(help="JSON Lines file to write: prompt, chosen and rejected, as TRL uses.")],
    config: Config = None,
    personality: Personality = DEFAULT_PERSONALITY,
    as_json: AsJson = False,
) -> None:
    """Export the preference pairs that a round would train on now."""
    from trainer.exchange import export_file

    pairs = export_file(read_settings(config), file, personality)
    record_command(config, personality, operator_action("export", f"file: {file.name}, {pairs} pairs"))
    show({"pairs": pairs, "file": str(file)}, f"Wrote {count(pairs, 'pair')} to {file}.", as_json)
