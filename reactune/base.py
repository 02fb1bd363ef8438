"""`reactune base`: shows the base model, changes it, goes back, and teaches the personalities again."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reactune.base_texts import ChangedBase, Lesson, describe_bases, describe_change, describe_lessons, describe_offer
from reactune.shared import (
    AsJson,
    Config,
    notes,
    operator_action,
    operator_name,
    progress,
    read_settings,
    reading,
    show,
    with_cards,
)
from storage.database.database import Database, open_database
from storage.errors import SettingsError
from storage.operations.audit import record_action
from storage.releases.base_change import CHANGE_BASE, MovedChampion, begin_base, describe_bases_used
from storage.releases.bases import ConfiguredBase, base_in_use, previous_base
from storage.runtime.processes import is_alive
from storage.runtime.shards import shards_of
from storage.settings.editing import require_editable, write_setting
from storage.settings.loading import DEFAULT_FILE, overriding_place
from storage.settings.sections import Settings

if TYPE_CHECKING:
    from storage.models.base_model import BaseModel
    from storage.models.base_offer import BaseOffer

Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask whether to go on.")]

base = typer.Typer(no_args_is_help=True, help="Show or change the base model, and teach the personalities again.")


@base.command("show")
def show_base(config: Config = None, as_json: AsJson = False) -> None:
    """Show the base model, and those used before with their versions and votes."""
    from storage.models.base_offer import examine_base

    settings = read_settings(config)
    with progress() as say:
        say(f"Looking at {settings.model.base} …")
        offer = examine_base(settings.model.base, settings)
    with reading(settings) as session:
        used = describe_bases_used(session, settings.votes)
    data = {
        "base": offer.setting,
        "name": offer.name,
        "licence": offer.licence,
        "weight_bytes": offer.weight_bytes,
        "download_bytes": offer.download_bytes,
        "used": [asdict(one) for one in used],
    }
    show(data, describe_bases(offer, used), as_json)


@base.command("use")
def use_base(
    which: Annotated[str, typer.Argument(help='"bundled", a folder, or a hub ID (owner/name).', metavar="BASE")],
    config: Config = None,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Check, download and compare a base model, then let it answer from the bot's next start on."""
    _change_base(which, config, yes=yes, as_json=as_json)


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
    _change_base(previous.setting, config, yes=yes, as_json=as_json)


def _change_base(which: str, config: Path | None, *, yes: bool, as_json: bool) -> None:
    from storage.models.base_offer import examine_base, require_room

    settings, file, overridden_in = read_settings(config), config or DEFAULT_FILE, overriding_place("model", "base")
    if overridden_in is None:
        require_editable(file)
    with contextlib.closing(open_database(settings)) as database:
        with progress() as say:
            say(f"Looking at {which} …")
            offer = examine_base(which, settings)
        require_room(offer, settings)
        _confirm(offer, yes=yes)
        with _download_bar(offer) as advance:
            offer.download(advance)
        with progress() as say:
            model = _prepare(offer, settings, say)
        used = ConfiguredBase(setting=offer.setting, name=model.name, revision=model.revision)
        change = _switch(database, settings, used, file=file, overridden_in=overridden_in)
    show(asdict(change), describe_change(change), as_json)


def _confirm(offer: BaseOffer, *, yes: bool) -> None:
    # The plan of memory belongs here: what answering and training with the base need, and what this machine has.
    notes.print(describe_offer(offer), markup=False, highlight=False)
    if not yes and not typer.confirm("Use this base model?", err=True):
        notes.print("Nothing was changed.")
        raise typer.Exit(1)


@contextlib.contextmanager
def _download_bar(offer: BaseOffer) -> Iterator[Callable[[int, int], None]]:
    """Show a bar in a terminal, else a line for each tenth."""
    from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn

    from storage.models.base_model import tenths

    if not notes.is_terminal:
        yield tenths(lambda sentence: notes.print(sentence, markup=False, highlight=False), offer.name)
        return
    columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress("Downloading", *columns, console=notes, transient=True) as bar:
        task = bar.add_task("", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _prepare(offer: BaseOffer, settings: Settings, say: Callable[[str], None]) -> BaseModel:
    """Convert the base if needed, check its files, and compare OpenVINO's graph with transformers."""
    from storage.models.base_model import resolve_base_model
    from storage.models.openvino.support import UnsupportedModel
    from storage.models.openvino.verifier import Verifier, prefers_graphs

    model = resolve_base_model(offer.setting, settings.data.directory, say)
    if prefers_graphs(settings.model):
        say(f"Comparing OpenVINO with transformers on {model.name} …")
        try:
            Verifier(model, settings.data.directory, settings.model).require(keep_others=True)
        except UnsupportedModel as error:
            if settings.model.engine == "openvino":
                raise SettingsError(
                    f'OpenVINO cannot serve {model.name} ({error}): set model.engine = "auto", or choose another model'
                ) from error
            notes.print(f"transformers will answer, because OpenVINO cannot: {error}", markup=False, highlight=False)
    return model


def _switch(
    database: Database, settings: Settings, used: ConfiguredBase, *, file: Path, overridden_in: str | None
) -> ChangedBase:
    """Write the setting and move the champions; a running bot moves them when it starts again, with the new base."""
    with database.transaction() as session:
        is_running = any(is_alive(session, name) for name in shards_of(settings.discord).names)
        moved: list[MovedChampion] = []
        if is_running or overridden_in:
            record_action(session, operator_action(CHANGE_BASE, f"{used.setting} ({used.name}), at the next start"))
        else:
            moved = begin_base(session, used, by=operator_name())
        if overridden_in is None:
            write_setting(file, "model", "base", used.setting)
        known = describe_bases_used(session, settings.votes)
    others = tuple(one for one in known if one.use.revision != used.revision)
    votes = sum(one.votes for one in known)
    return ChangedBase(used, tuple(moved), others, votes, is_running=is_running, overridden_in=overridden_in)


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
    lessons: list[Lesson] = []
    with progress() as say, stopped_by_signals() as stop:
        lessons = teach_all(config, settings, say, stop)
    show({"lessons": [asdict(lesson) for lesson in lessons]}, describe_lessons(lessons), as_json)
    failed = (RoundStatus.FAILED, RoundStatus.INTERRUPTED, RoundStatus.REJECTED)
    if any(lesson.round.status in failed for lesson in lessons):
        raise typer.Exit(1)
