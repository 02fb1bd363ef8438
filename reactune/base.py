"""`reactune base`: shows the base model, changes it, goes back, and teaches the personalities again."""

from __future__ import annotations

import logging
from dataclasses import asdict
from typing import Annotated

import typer

from reactune.base_texts import describe_base_models, describe_lessons
from reactune.changing_base import change_base
from reactune.shared import AsJson, Config, progress, read_settings, reading, show, with_cards
from storage.errors import BaseModelError, SettingsError
from storage.releases.base_change import describe_bases_used
from storage.releases.bases import base_in_use, previous_base

Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask whether to go on.")]

base = typer.Typer(no_args_is_help=True, help="Show or change the base model, and teach the personalities again.")


@base.command("show")
def show_base(config: Config = None, as_json: AsJson = False) -> None:
    """Show the base model, and those used before with their versions and votes."""
    from storage.models.base_offer import examine_base

    settings = read_settings(config)
    setting, offer, problem = settings.model.base, None, ""
    with progress() as say:
        say(f"Looking at {setting} …")
        try:
            offer = examine_base(setting, settings)
        except BaseModelError as error:
            problem = str(error)
    with reading(settings) as session:
        used = describe_bases_used(session, settings.votes)
    data = {
        "base": setting,
        "problem": problem,
        "name": offer.name if offer else None,
        "licence": offer.licence if offer else None,
        "weight_bytes": offer.weight_bytes if offer else None,
        "download_bytes": offer.download_bytes if offer else None,
        "sees": offer.sees if offer else None,
        "used": [asdict(one) for one in used],
    }
    show(data, describe_base_models(offer or f"`model.base = {setting}` cannot be used: {problem}.", used), as_json)
    if problem:
        raise typer.Exit(1)


@base.command("use")
def use_base(
    which: Annotated[str, typer.Argument(help='"bundled", a folder, or a hub ID (owner/name).', metavar="BASE")],
    config: Config = None,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Check, download and compare a base model, then let it answer from the bot's next start on."""
    change_base(which, config, yes=yes, as_json=as_json)


@base.command("back")
def go_back(config: Config = None, yes: Yes = False, as_json: AsJson = False) -> None:
    """Go back to the base model that answered before; its champions come back with it."""
    settings = read_settings(config)
    with reading(settings) as session:
        used, previous = base_in_use(session), previous_base(session)
    if used is not None and used.setting != settings.model.base:  # the change has not reached the bot yet
        previous = used
    if previous is None:
        raise SettingsError("no other base model answered before: choose one with `reactune base use`")
    change_base(previous.setting, config, yes=yes, as_json=as_json)


@base.command("teach")
def teach(config: Config = None, as_json: AsJson = False) -> None:
    """Teach every personality on the base model: first its card's examples, then the members' votes."""
    from reactune.teaching import teach_all
    from storage.database.enums import RoundStatus
    from storage.runtime.log_setup import set_up_logs
    from trainer.rounds.worker import stopped_by_signals

    settings = read_settings(config)
    set_up_logs(settings, "teach", least=logging.WARNING)
    with with_cards(settings) as session:
        used = base_in_use(session)
    if used is not None and used.setting != settings.model.base:
        raise SettingsError(
            f"{used.name} still answers: start the bot again, so that {settings.model.base} does, then teach"
        )
    with progress() as say, stopped_by_signals() as stop:
        lessons = teach_all(config, settings, say, stop)
    show({"lessons": [asdict(lesson) for lesson in lessons]}, describe_lessons(lessons), as_json)
    failed = (RoundStatus.FAILED, RoundStatus.INTERRUPTED, RoundStatus.REJECTED)
    if any(lesson.round.status in failed for lesson in lessons):
        raise typer.Exit(1)
