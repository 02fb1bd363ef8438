"""The trainer's commands: trainer, train, import, export."""

from __future__ import annotations

import logging
import threading
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from reactune.console import AsJson, Config, Personality, plain_text_of, progress, read_settings, show
from reactune.operator import operator_action, operator_name, record_command
from reactune.trainer_process import stop_with_stdin
from storage.database.enums import TrainingSource
from storage.personalities.personalities import DEFAULT_PERSONALITY
from storage.runtime.log_setup import set_up_logs
from storage.runtime.processes import TRAINER
from storage.wording import count


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
    lesson: Annotated[
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
        record_command(config, personality, operator_action("model train", f"learn_from: {lesson}"))
        round_ = train_now(settings, personality, by, lambda r: say(plain_text_of(describe_round(r))), lesson=lesson)
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
