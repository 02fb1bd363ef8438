"""The `reactune` command: its subcommands, and the display of errors."""

from __future__ import annotations

import errno
import io
import signal
import sys
from collections.abc import Sequence
from importlib.metadata import version
from typing import Annotated

import typer
from sqlalchemy.exc import SQLAlchemyError

from bot.errors import BotError
from reactune import database
from reactune.base import base
from reactune.bench import bench
from reactune.compare import compare_offline_answers
from reactune.console import console
from reactune.demo import demo
from reactune.doctor.command import doctor
from reactune.init.command import init
from reactune.members import privacy, trace_request, votes
from reactune.model import model
from reactune.models import list_bases
from reactune.personality import personality
from reactune.run import run, serve, trainer
from reactune.settings import list_settings
from reactune.taste import show_taste
from reactune.train import export_pairs, import_pairs, train
from storage.database.engine import explain, is_away
from storage.errors import DatabaseError, SettingsError, StorageError
from storage.runtime.log_setup import log_fatal_error
from storage.runtime.shell import as_called
from trainer.errors import TrainerError

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)


def _say_version(is_asked: bool) -> None:
    if is_asked:
        typer.echo(f"reactune {version('reactune')}")
        raise typer.Exit


@app.callback()
def _options(
    _version: Annotated[
        bool, typer.Option("--version", callback=_say_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Reactune: a Discord bot whose personality is tuned by its members' reactions."""


app.command("demo")(demo)
app.command("init")(init)
app.command("run")(run)
app.command("bot")(serve)
app.command("trainer")(trainer)
app.command("console")(console)
app.command("train")(train)
app.command("compare")(compare_offline_answers)
app.command("taste")(show_taste)
app.command("trace")(trace_request)
app.command("import")(import_pairs)
app.command("export")(export_pairs)
app.command("audit")(database.show_audit)
app.command("backup")(database.backup)
app.command("restore")(database.restore)
app.command("settings")(list_settings)
app.command("doctor")(doctor)
app.command("models")(list_bases)
app.add_typer(base, name="base")
app.add_typer(model, name="model")
app.add_typer(bench, name="bench")
app.add_typer(votes, name="votes")
app.add_typer(privacy, name="privacy")
app.add_typer(personality, name="personality")
app.add_typer(database.db, name="db")


def main() -> None:
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # some terminals cannot show every character
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that temporary files are deleted
    try:
        _require_text(sys.argv)
        app()
    except KeyboardInterrupt:
        sys.exit(130)
    except (StorageError, BotError, TrainerError) as error:
        _fail(error)
    except SQLAlchemyError as error:
        if not is_away(error):
            raise
        _fail(DatabaseError(explain(error)))
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        where = error.filename or "the output"
        _fail(StorageError(f"the disk is full ({where}): free some space, then try again"))


def _require_text(arguments: Sequence[str]) -> None:
    try:
        " ".join(arguments).encode()
    except UnicodeEncodeError as error:
        raise SettingsError("an argument is not valid UTF-8: write it in UTF-8, file names included") from error


def _fail(error: StorageError | BotError | TrainerError) -> None:
    log_fatal_error(as_called(str(error)))
    sys.exit(error.exit_code)
