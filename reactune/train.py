"""`reactune train`, `import` and `export`: one round now, and its preference pairs."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from threading import Event
from typing import Annotated

import typer

from reactune.shared import (
    AsJson,
    Config,
    Personality,
    look_up,
    operating,
    operator_action,
    plain_text_of,
    progress,
    read_settings,
    record_command,
    show,
    with_cards,
)
from storage.database.enums import TrainingSource
from storage.operations.audit import audited
from storage.personalities.personalities import DEFAULT_PERSONALITY
from storage.releases.before_after import compare_round
from storage.runtime.log_setup import set_up_logs
from storage.training.rounds import Round, request_round
from storage.wording import count


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
    from bot.text.releases import before_after_text
    from bot.text.rounds import describe_round
    from storage.database.enums import RoundStatus
    from trainer.rounds.worker import stopped_by_signals

    settings = read_settings(config)
    set_up_logs(settings, "train", least=logging.WARNING)
    with with_cards(settings):
        pass  # this may be the first command, and the personality may be a new card
    with progress() as say, stopped_by_signals() as stop:
        round_ = train_personality(config, personality, learns_from, say, stop)
    compared = look_up(config, personality, lambda session, _: compare_round(session, round_.id))
    data = asdict(round_) | {"before_after": compared and asdict(compared)}
    show(data, describe_round(round_) + before_after_text(compared), as_json)
    if round_.is_open:  # stopped by Ctrl-C while another trainer runs the round
        raise typer.Exit(130)
    if round_.status in (RoundStatus.FAILED, RoundStatus.INTERRUPTED, RoundStatus.REJECTED):
        raise typer.Exit(1)


def train_personality(
    config: Path | None, personality: str, learns_from: TrainingSource, say: Callable[[str], None], stop: Event
) -> Round:
    """Run one round, or wait for it if a trainer runs it, and return the ended round; `say` gets its progress."""
    from bot.text.rounds import describe_round
    from trainer.rounds.worker import train_now

    def report(round_: Round) -> None:
        say(plain_text_of(describe_round(round_)))

    command = operator_action("version train", f"learn_from: {learns_from}")
    with operating(config, personality, command) as (_, action, _):
        request = partial(audited(action, request_round), requested_by=action.actor, learns_from=learns_from)
        return train_now(read_settings(config), personality, request, report, stop)


def import_pairs(
    file: Annotated[Path, typer.Argument(help="JSON Lines file with prompt, chosen and rejected, as TRL uses.")],
    config: Config = None,
    personality: Personality = DEFAULT_PERSONALITY,
    as_json: AsJson = False,
) -> None:
    """Import preference pairs to train on."""
    from trainer.exchange import import_file

    counts = import_file(read_settings(config), file, personality)
    imported = count(counts.imported, "pair")
    record_command(config, personality, operator_action("import", f"file: {file.name}, {imported}"))
    show(asdict(counts), f"Imported {imported}; {counts.known} already existed.", as_json)


def export_pairs(
    file: Annotated[Path, typer.Argument(help="JSON Lines file to write: prompt, chosen and rejected, as TRL uses.")],
    config: Config = None,
    personality: Personality = DEFAULT_PERSONALITY,
    as_json: AsJson = False,
) -> None:
    """Export the preference pairs that a round would train on now."""
    from trainer.exchange import export_file

    found = export_file(read_settings(config), file, personality)
    written = f"{count(found.pairs, 'pair')} from {count(found.questions, 'question')}"
    record_command(config, personality, operator_action("export", f"file: {file.name}, {written}"))
    show({**asdict(found), "file": str(file)}, f"Wrote {written} to {file}.", as_json)
