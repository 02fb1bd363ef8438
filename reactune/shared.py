"""Shared by all commands: options, settings, progress and printing."""

from __future__ import annotations

import contextlib
import getpass
import json
import sys
import urllib.request
import webbrowser
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer
from rich.console import Console
from rich.markdown import Markdown
from rich.text import Text
from sqlalchemy.orm import Session

from storage.database.database import Database, open_database
from storage.database.enums import AuditOutcome
from storage.errors import SettingsError, StorageError
from storage.operations.audit import AuditedAction, record_action
from storage.personalities.personalities import DEFAULT_PERSONALITY, open_personality, personality_named
from storage.runtime.redaction import redact_secrets
from storage.runtime.shell import as_called, say_where_to_type
from storage.settings.loading import NO_OVERRIDES, load_settings
from storage.settings.sections import Settings

if TYPE_CHECKING:
    from storage.models.base_model import BaseModel

T = TypeVar("T")

TEXT_BROWSERS = frozenset({"www-browser", "links", "elinks", "lynx", "w3m"})

this_machine = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""Opens addresses of this machine, which a proxy of the environment would not find."""

# Standard error, because standard output is for results and JSON.
notes = Console(stderr=True, markup=False, highlight=False)

Config = Annotated[
    Path | None, typer.Option("--config", help="Your settings file, in place of config.toml and reactune.toml.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.")]
Personality = Annotated[str, typer.Option("--personality", help="Name of the personality.")]
PersonalityName = Annotated[str, typer.Argument(help="Name of the personality.")]
VersionName = Annotated[str, typer.Argument(help='A version such as v3, or "base".')]


def read_settings(config: Path | None, overrides: Mapping[str, str] = NO_OVERRIDES) -> Settings:
    settings = load_settings(config, overrides=overrides)
    redact_secrets(settings)
    return settings


def show(data: dict[str, Any], text: str, as_json: bool) -> None:
    if as_json:
        print(json.dumps(data, default=str, ensure_ascii=False))
    else:
        Console().print(Markdown(say_where_to_type(as_called(text)).replace("\n", "  \n")))


def show_plain(data: dict[str, Any], text: str, as_json: bool) -> None:
    """Like `show`, but keep the text's lines as they are, for grep."""
    if as_json:
        show(data, text, as_json)
    else:
        print(as_called(text))


def plain_text_of(markdown: str) -> str:
    return markdown.replace("**", "").replace("`", "").replace("\n", " · ")


@contextlib.contextmanager
def progress() -> Iterator[Callable[[str], None]]:
    """Yield a function that reports progress: one changing line in a terminal, else one line per report."""
    if notes.is_terminal:
        with notes.status("") as status:
            yield lambda text: status.update(Text(text))
        return
    last = ""

    def say(text: str) -> None:
        nonlocal last
        if text != last:
            notes.print(text)
        last = text

    yield say


def resolve_base(settings: Settings) -> BaseModel:
    """Return the base model, downloaded or converted first if needed, and report progress."""
    from storage.models.base_model import resolve_base_model

    with progress() as say:
        return resolve_base_model(settings.model.base, settings.data.directory, say)


def open_in_browser(address: str) -> None:
    """Open a page in the browser, and wait for one that stays in the foreground.

    Not in a text browser: the page needs JavaScript, and the terminal would be taken.
    """
    with contextlib.suppress(webbrowser.Error):
        if webbrowser.get().basename not in TEXT_BROWSERS:
            webbrowser.open(address)


@contextlib.contextmanager
def needed_by(what: str, remedy: str) -> Iterator[None]:
    """Turn a missing package into a SettingsError that names it and what to run."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise SettingsError(f"{what} needs {error.name}: run {remedy}") from error


def import_from_here() -> None:
    """Make modules in the current folder importable, for a taste such as "module:function"."""
    sys.path.append(str(Path.cwd()))


@contextlib.contextmanager
def reading(settings: Settings) -> Iterator[Session]:
    """Yield a session that reads one state of the database without blocking writers."""
    with contextlib.closing(open_database(settings)) as database, database.snapshot() as session:
        yield session


def look_up(config: Path | None, personality: str, work: Callable[[Session, int], T]) -> T:
    """Return `work(session, personality id)`."""
    with reading(read_settings(config)) as session:
        return work(session, personality_named(session, personality).id)


@contextlib.contextmanager
def operating(
    config: Path | None, personality: str, action: AuditedAction
) -> Iterator[tuple[Database, AuditedAction, int]]:
    """Yield the database, the action with the personality's id, and that id; record a refusal."""
    with contextlib.closing(open_database(read_settings(config))) as database:
        with database.snapshot() as session:
            personality_id = personality_named(session, personality).id
        action = replace(action, personality_id=personality_id)
        try:
            yield database, action, personality_id
        except StorageError as error:
            database.call(record_action, action, AuditOutcome.REFUSED, str(error))
            raise


def record_command(config: Path | None, personality: str, action: AuditedAction) -> None:
    """Add an entry to the audit trail, unless the personality or the database is missing."""
    with contextlib.suppress(StorageError), operating(config, personality, action) as (database, named, _):
        database.call(record_action, named)


def operator_action(action: str, subject: str = "", reason: str = "") -> AuditedAction:
    return AuditedAction(actor=operator_name(), action=action, subject=subject, reason=reason)


def operator_name() -> str:
    return f"{getpass.getuser()} (command line)"[:64]


@contextlib.contextmanager
def with_cards(settings: Settings) -> Iterator[Session]:
    """Read the files of new personalities and yield a session; this works before the bot's first start too."""
    with contextlib.closing(open_database(settings)) as database, database.transaction() as session:
        open_personality(session, settings, DEFAULT_PERSONALITY)
        yield session
