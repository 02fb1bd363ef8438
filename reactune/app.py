"""The command line. It is the only package that imports both the bot and the trainer."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import importlib
import io
import logging
import sys
import webbrowser
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from sqlalchemy.exc import SQLAlchemyError
from typer.core import TyperGroup
from typer.main import get_group

from bot.demo.tastes import TASTES, UnknownTaste, find_taste
from bot.errors import BotError, ConnectionRefused
from reactune.compare import compare_offline_answers
from reactune.console import (
    AsJson,
    Config,
    Personality,
    import_from_here,
    needed_by,
    plain_text_of,
    progress,
    read_settings,
    show,
)
from reactune.database import backup, db, restore, show_audit
from reactune.demo import require_free, sole_demo
from reactune.members import privacy, trace_request, votes
from reactune.model import model
from reactune.operator import operator_action, operator_name, record_command
from reactune.personality import personality
from reactune.run import serve
from reactune.trainer import export_pairs, import_pairs, trainer
from reactune.trainer_process import supervised_trainer
from storage.database.engine import explain, is_away
from storage.database.enums import TrainingSource
from storage.errors import (
    AlreadyChampion,
    BackupRefused,
    CardError,
    CopyRefused,
    DatabaseError,
    DataDirectoryInUse,
    ExportRefused,
    NothingToRollBack,
    PersonalityConflict,
    PersonalityNotFound,
    ReleaseRefused,
    SettingsError,
    StorageError,
    TokenInUse,
    VersionNotFound,
)
from storage.personalities.personalities import DEFAULT_PERSONALITY
from storage.runtime.log_setup import log_fatal_error, set_up_logs
from storage.runtime.processes import BOT
from storage.settings.sections import Settings
from trainer.errors import TrainerError

USAGE_ERRORS = (
    AlreadyChampion,
    BackupRefused,
    CardError,
    ConnectionRefused,
    CopyRefused,
    DataDirectoryInUse,
    ExportRefused,
    NothingToRollBack,
    PersonalityConflict,
    PersonalityNotFound,
    ReleaseRefused,
    SettingsError,
    TokenInUse,
    UnknownTaste,
    VersionNotFound,
)
DEMO_DIRECTORY = Path("demo-data")

HELP = "Reactune: a Discord bot whose personality is tuned by its members' reactions."


def demo(
    *,
    config: Config = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port on 127.0.0.1; 0 picks a free one.")] = 8790,
    browser: Annotated[bool, typer.Option(help="Open the page in a browser.")] = True,
    directory: Annotated[
        Path, typer.Option(resolve_path=True, help="Folder for the demo's data, kept between starts.")
    ] = DEMO_DIRECTORY,
    start_over: Annotated[bool, typer.Option("--start-over", help="Delete the data of earlier starts first.")] = False,
    community: Annotated[
        str,
        typer.Option(
            metavar="TASTE",
            help=f"Start with votes of a simulated community of this taste: {', '.join(TASTES)} or module:function.",
        ),
    ] = "",
) -> None:
    """Try the bot in a local browser page, without a token, GPU or network."""
    with needed_by("the demo", "`pip install 'reactune[demo]'`"):
        from bot.demo.page import demo_channel_id, demo_overrides, forget, serve_demo
    import_from_here()
    taste = find_taste(community) if community else None
    overrides = demo_overrides(str(directory), demo_channel_id(), community=taste is not None)
    settings = read_settings(config, overrides=overrides)
    set_up_logs(settings, BOT)

    def announce(url: str) -> None:
        say("Ready.")
        print(f"Open {url}\nThe demo's data is in {directory}. Press Ctrl-C to stop.", flush=True)
        if browser:
            webbrowser.open(url)

    require_free(port)
    with progress() as say, sole_demo(directory, say):
        if start_over:
            forget(directory)
        _prepare_base(settings, say)
        with supervised_trainer(config, overrides):
            say("Loading the model and starting the bot …")
            asyncio.run(serve_demo(settings, port=port, taste=taste, on_ready=announce))


def run(config: Config = None) -> None:
    """Run the bot on Discord, together with the trainer."""
    from bot.runner import require_token, run_bot
    from storage.runtime.schedules import parse_schedule
    from trainer.rounds.schedule import SETTING

    settings = read_settings(config)
    set_up_logs(settings, BOT)
    parse_schedule(SETTING, settings.training.schedule)
    require_token(settings)
    with progress() as say:
        _prepare_base(settings, say)
    with supervised_trainer(config, {}):
        run_bot(settings)


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


def doctor(config: Config = None, as_json: AsJson = False) -> None:
    """Check the whole installation and list what to fix."""
    from reactune.doctor.doctor import describe_findings, problems_of, run_checks

    settings = read_settings(config)
    findings = run_checks(settings, [("Suites", lambda: _describe_suites(settings))])
    show({"findings": [asdict(finding) for finding in findings]}, describe_findings(findings), as_json)
    if problems_of(findings):
        raise typer.Exit(1)


def _describe_suites(settings: Settings) -> str:
    from trainer.evaluation.suites import load_suites

    return ", ".join(f"{suite.name} ({len(suite.cases)} cases)" for suite in load_suites(settings.gate))


def _prepare_base(settings: Settings, say: Callable[[str], None]) -> None:
    """Find, download or convert the base model and report progress; only the first time takes a while."""
    from storage.models.base_model import resolve_base_model

    say("Looking for the base model …")
    resolve_base_model(settings.model.base, settings.data.directory, say)


class Benches(TyperGroup):
    """Loads the benchmarks from a checkout; an installation without one says what it needs."""

    def list_commands(self, ctx: Any) -> list[str]:
        with contextlib.suppress(SettingsError):
            self._load("")
        return super().list_commands(ctx)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        self._load(cmd_name)
        return super().get_command(ctx, cmd_name)

    def _load(self, name: str) -> None:
        if self.commands:
            return
        sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the checkout, whatever the current folder is
        with needed_by(f"bench {name}", "it in a checkout after `pip install -e '.[bench]'`"):
            module = importlib.import_module("tests.benchmarks.command_line")
        self.commands.update(get_group(module.bench).commands)


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
    "bench": typer.Typer(
        cls=Benches,
        no_args_is_help=True,
        help="Run benchmarks; needs a checkout with the bench extra.",
    ),
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
    except USAGE_ERRORS as error:
        _fail(error, 2)
    except (StorageError, BotError, TrainerError) as error:
        _fail(error, 1)
    except SQLAlchemyError as error:
        if not is_away(error):
            raise
        _fail(DatabaseError(explain(error)), 1)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        where = error.filename or "the output"
        _fail(StorageError(f"the disk is full ({where}): free some space, then try again"), 1)


def _require_text(arguments: Sequence[str]) -> None:
    try:
        " ".join(arguments).encode()
    except UnicodeEncodeError as error:
        raise SettingsError("an argument is not valid UTF-8: write it in UTF-8, file names included") from error


def _fail(error: Exception, code: int) -> None:
    log_fatal_error(error)
    sys.exit(code)


if __name__ == "__main__":
    main()
