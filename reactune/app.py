"""The command line. It is the only package that imports both the bot and the trainer."""

from __future__ import annotations

import errno
import io
import sys
from collections.abc import Callable, Sequence
from typing import Any

import typer
from sqlalchemy.exc import SQLAlchemyError

from bot.errors import BotError
from reactune.bench import bench
from reactune.compare import compare_offline_answers
from reactune.database import backup, db, restore, show_audit
from reactune.demo import demo
from reactune.doctor.command import doctor
from reactune.members import privacy, trace_request, votes
from reactune.model import model
from reactune.personality import personality
from reactune.run import run, serve
from reactune.trainer import export_pairs, import_pairs, train, trainer
from storage.database.engine import explain, is_away
from storage.errors import (
    DatabaseError,
    SettingsError,
    StorageError,
)
from storage.runtime.log_setup import log_fatal_error
from trainer.errors import TrainerError

HELP = "Reactune: a Discord bot whose personality is tuned by its members' reactions."


COMMANDS: dict[str, Callable[..., Any]] = {
    "demo": demo,
    "run": run,
    "bot": serve,
    "trainer": trainer,
    "train": train,
    "compare": compare_offline_answers,
    "trace": trace_request,
    "import": import_pairs,
    "export": export_pairs,
    "audit": show_audit,
    "backup": backup,
    "restore": restore,
    "doctor": doctor,
}
GROUPS = {
    "model": model,
    "bench": bench,
    "votes": votes,
    "privacy": privacy,
    "personality": personality,
    "db": db,
}

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, add_completion=False, help=HELP)
for name, command in COMMANDS.items():
    app.command(name)(command)
for name, group in GROUPS.items():
    app.add_typer(group, name=name)


def main() -> None:
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # some terminals cannot show every character
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
    log_fatal_error(error)
    sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
