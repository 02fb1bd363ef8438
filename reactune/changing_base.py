"""Changes the base model: first checks, confirms, downloads and compares; then writes the setting, moves champions."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

import typer

from bot.errors import EngineStopped
from reactune.models import record_configured_base
from reactune.shared import notes, operator_action, operator_name, progress, read_settings, show
from storage.database.database import Database, open_database
from storage.errors import BaseModelError, SettingsError
from storage.operations.audit import record_action
from storage.releases.base_change import CHANGE_BASE, MovedChampion, UsedBase, begin_base, describe_bases_used
from storage.releases.bases import ConfiguredBase
from storage.runtime.processes import is_alive
from storage.runtime.shards import shards_of
from storage.settings.editing import require_editable, write_setting
from storage.settings.loading import OWN_FILE, overriding_place, variable_name
from storage.settings.sections import Settings
from storage.wording import count, format_bytes

if TYPE_CHECKING:
    from storage.models.base_model import BaseModel
    from storage.models.base_offer import BaseOffer

SEES = "the base describes pictures itself where transformers answers and no `pictures.url` is set"


@dataclass(frozen=True)
class ChangedBase:
    base: ConfiguredBase
    before: str
    """The former value of model.base."""
    moved: tuple[MovedChampion, ...]
    others: tuple[UsedBase, ...]
    """Other bases that were used, the latest first."""
    votes: int
    """Current votes on answers of all bases."""
    is_running: bool
    """Whether a bot runs; it keeps the base that it started with."""
    overridden_in: str | None
    """Place of the variable that overrides the settings file; None without one."""


def change_base(which: str, config: Path | None, *, yes: bool, as_json: bool) -> None:
    from storage.models.base_offer import examine_base

    settings, file, overridden_in = read_settings(config), config or OWN_FILE, overriding_place("model", "base")
    if overridden_in is None:
        require_editable(file, "model", "base", _setting_for(which))
    with contextlib.closing(open_database(settings)) as database:
        with progress() as say:
            say(f"Looking at {which} …")
            offer = examine_base(which, settings)
        require_space(offer, settings)
        _confirm(offer, settings, yes=yes)
        record_configured_base(database, settings)
        model = fetch_base(offer, settings)
        used = ConfiguredBase(setting=offer.setting, name=model.name, revision=model.revision)
        change = _switch(database, settings, used, file=file, overridden_in=overridden_in)
    show(asdict(change), describe_changed_base(change), as_json)


def _setting_for(which: str) -> str:
    with contextlib.suppress(OSError):  # `examine_base` says what is wrong with it
        folder = Path(which).expanduser()
        return str(folder.resolve()) if folder.is_dir() else which
    return which


def _confirm(offer: BaseOffer, settings: Settings, *, yes: bool) -> None:
    from reactune.models import describe_memory

    notes.print(describe_offer(offer))
    if offer.shape is not None:
        notes.print(describe_memory(offer.shape, settings))
    if not yes and not _agrees():
        notes.print("Nothing was changed.")
        raise typer.Exit(1)


def _agrees() -> bool:
    try:
        return typer.confirm("Use this base model?", err=True)
    except typer.Abort as error:
        if not isinstance(error.__context__, EOFError):
            raise
        notes.print("There was no answer: add --yes to skip the question.")
        return False


def _switch(
    database: Database, settings: Settings, used: ConfiguredBase, *, file: Path, overridden_in: str | None
) -> ChangedBase:
    """Write the setting and move the champions; a running bot moves them when it starts again, with the new base.

    Nothing changes if a variable overrides the setting.
    """
    known = database.fetch(describe_bases_used, settings.votes)  # reads all votes: no writer should wait for that
    with database.transaction() as session:
        is_running = any(is_alive(session, name) for name in shards_of(settings.discord).names)
        moved: list[MovedChampion] = []
        if overridden_in is None:
            if is_running:
                record_action(session, operator_action(CHANGE_BASE, f"{used.setting} ({used.name}), at the next start"))
            else:
                moved = begin_base(session, used, by=operator_name())
            # Last, so that the file stays as it is if the rows cannot be written.
            write_setting(file, "model", "base", used.setting)
    others = tuple(one for one in known if one.use.revision != used.revision)
    votes = sum(one.votes for one in known)
    before = settings.model.base
    return ChangedBase(used, before, tuple(moved), others, votes, is_running=is_running, overridden_in=overridden_in)


def require_space(offer: BaseOffer, settings: Settings) -> None:
    """Raise an error if the disk has no room for the base, or its context none for a conversation."""
    from bot.engine.rendering import require_first_prompt
    from storage.models.base_offer import require_disk_space

    require_disk_space(offer, settings)
    if offer.chat is None:
        return
    try:
        require_first_prompt(offer.chat, offer.window, settings)
    except EngineStopped as error:  # the small files of a download are in a folder that is gone
        raise SettingsError(str(error).replace(offer.chat.tokenizer.name_or_path, offer.name)) from error


def fetch_base(offer: BaseOffer, settings: Settings) -> BaseModel:
    """Return the model, ready to answer; after an interruption, the next call continues."""
    with _download_bar(offer) as advance:
        offer.download(advance)
    with progress() as say:
        return _prepare(offer, settings, say)


@contextlib.contextmanager
def _download_bar(offer: BaseOffer) -> Iterator[Callable[[int, int], None]]:
    """Show a bar in a terminal, else a line for each tenth."""
    from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn

    from storage.models.base_model import report_tenths

    if not notes.is_terminal:
        yield report_tenths(notes.print, offer.name)
        return
    columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress("Downloading", *columns, console=notes, transient=True) as bar:
        task = bar.add_task("", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _prepare(offer: BaseOffer, settings: Settings, say: Callable[[str], None]) -> BaseModel:
    """Convert the base if needed, check its files, and compare OpenVINO's graph with transformers."""
    from storage.models.base_model import require_loadable, resolve_base_model
    from storage.models.openvino.support import UnloadableModel, UnsupportedModel
    from storage.models.openvino.verifier import Verifier, prefers_graphs

    model = resolve_base_model(offer.setting, settings.data.directory, say)
    if settings.model.engine != "remote":
        require_loadable(model.path)  # of a download, only the small files were examined
    if prefers_graphs(settings.model):
        say(f"Comparing OpenVINO with transformers on {model.name} …")
        try:
            graphs = Verifier(model, settings.data.directory, settings.model).require(keep_others=True)
            say(f"OpenVINO will answer with {graphs.verdict.describe()}.")
        except UnloadableModel as error:
            raise BaseModelError(str(error)) from error
        except UnsupportedModel as error:
            if settings.model.engine == "openvino":
                raise SettingsError(
                    f'OpenVINO cannot serve {model.name} ({error}): set model.engine = "auto", or choose another model'
                ) from error
            notes.print(f"transformers will answer, because OpenVINO cannot: {error}")
    return model


def describe_offer(offer: BaseOffer) -> str:
    lines = [f"Base model: {offer.name}", f"Licence: {offer.licence}"]
    if offer.licence_text:
        lines += ["", offer.licence_text, ""]
    if offer.on_hub and offer.licence == "unknown":
        lines.append(f"Its page on the hub says under which terms it may be used: {offer.on_hub.page}")
    if offer.weight_bytes:
        lines.append(f"Chat template: works. Weights: {format_bytes(offer.weight_bytes)}.")
    if offer.sees:
        lines.append(f"Pictures: {SEES}.")
    if offer.download_bytes:
        lines.append(f"Download: {format_bytes(offer.download_bytes)}.")
    return "\n".join(lines)


def describe_changed_base(change: ChangedBase) -> str:
    name, setting = change.base.name, change.base.setting
    if change.overridden_in:
        variable = variable_name("model", "base")
        return (
            f"**{name}** is ready, but nothing was changed: {variable} in {change.overridden_in} overrides the "
            f"settings file. Set {variable}={setting} there, then start the bot again."
        )
    lines = [f"**{name}** is the base model now (`model.base = {setting}`)."]
    if change.is_running:
        lines.append("The running bot keeps the old one: start it again. Its versions change then.")
    lines += [f"- {moved.personality}: {moved.after} answers now (before: {moved.before})." for moved in change.moved]
    lines += [
        count(
            one.versions,
            f"version of {one.use.name} stays stored. It answers",
            f"versions of {one.use.name} stay stored. They answer",
        )
        + f" again after `reactune base use {quote(one.use.setting)}`."
        for one in change.others
        if one.versions
    ]
    if change.votes:
        votes = count(change.votes, "vote counts", "votes count")
        lines.append(f"{votes} for the next round and in what members like, whichever base answered.")
    lines.append("Next: `reactune base teach` teaches the personalities on it." + _way_back(change))
    return "\n".join(lines)


def _way_back(change: ChangedBase) -> str:
    if change.others:
        return " `reactune base back` goes back."
    return "" if change.before == change.base.setting else f" `reactune base use {quote(change.before)}` goes back."
