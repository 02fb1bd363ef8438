"""The trainer's commands: trainer, import, export."""

from __future__ import annotations

import threading
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from reactune.console import AsJson, Config, Personality, read_settings, show
from reactune.operator import operator_action, record_command
from reactune.trainer_process import stop_with_stdin
from storage.personalities.personalities import DEFAULT_PERSONALITY
from storage.runtime.log_setup import set_up_logs
from storage.runtime.processes import TRAINER


def trainer(
    config: Config = None,
    until_stdin_closes: Annotated[bool, typer.Option(hidden=True, help="Stop when the starter is gone.")] = False,
) -> None:
    """Run the trainer alone: scheduled rounds and those asked for."""
    from trainer.rounds.worker import run_trainer, stopped_by_signals

    settings = read_settings(config)
    set_up_logs(settings, TRAINER)
    with stopped_by_signals() as stop:
        if until_stdin_closes:
            threading.Thread(target=stop_with_stdin, args=[stop], daemon=True).start()
        run_trainer(settings, stop)


def import_pairs(
    file: Path, config: Config = None, personality: Personality = DEFAULT_PERSONALITY, as_json: AsJson = False
) -> None:
    """Read preference pairs from JSON lines (prompt, chosen, rejected), as TRL writes them."""
    from trainer.exchange import import_file

    counts = import_file(read_settings(config), file, personality)
    record_command(config, personality, operator_action("import", f"file: {file.name}, {counts.imported} pairs"))
    show(asdict(counts), f"{counts.imported} pairs imported, {counts.known} were there already.", as_json)


def export_pairs(
    file: Path, config: Config = None, personality: Personality = DEFAULT_PERSONALITY, as_json: AsJson = False
) -> None:
    """Write the pairs that a round would train on now as JSON lines (prompt, chosen, rejected)."""
    from trainer.exchange import export_file

    count = export_file(read_settings(config), file, personality)
    record_command(config, personality, operator_action("export", f"file: {file.name}, {count} pairs"))
    show({"pairs": count, "file": str(file)}, f"{count} pairs written to {file}.", as_json)
