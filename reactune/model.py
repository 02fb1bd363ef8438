"""`reactune model`: versions and their lineage. See releases.py and model_files.py for the other commands."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from reactune.console import AsJson, Config, Personality, VersionName, show, show_plain
from reactune.model_files import prune_models, write_model_gguf
from reactune.operator import look_up
from reactune.releases import canary, promote_model, roll_back_model
from storage.errors import SettingsError
from storage.personalities.personalities import DEFAULT_PERSONALITY
from storage.wording import BASE_NAME


def list_models(config: Config = None, personality: Personality = DEFAULT_PERSONALITY, as_json: AsJson = False) -> None:
    """List the versions and their votes, newest first."""
    from bot.text.versions import describe_versions
    from storage.insights.versions import read_versions

    found = look_up(config, personality, read_versions)
    data = {
        "champion": found.champion.target,
        "challenger": found.challenger.target if found.challenger.version else None,
        "versions": [asdict(version) | {"name": version.name} for version in found.versions],
    }
    show(data, describe_versions(found), as_json)


def show_model(
    version: VersionName, config: Config = None, personality: Personality = DEFAULT_PERSONALITY, as_json: AsJson = False
) -> None:
    """Show a version's parent, round, measurements, votes and releases."""
    from bot.text.versions import describe_version
    from storage.insights.versions import read_version

    details = look_up(config, personality, lambda session, id_: read_version(session, id_, version))
    if details is None:
        show({"name": BASE_NAME}, "**base**: the base model, without an adapter", as_json)
        return
    data = asdict(details.version) | {
        "name": details.version.name,
        "votes": asdict(details.votes),
        "moves": [asdict(move) for move in details.moves],
    }
    show(data, describe_version(details), as_json)


def show_lineage(
    version: VersionName, config: Config = None, personality: Personality = DEFAULT_PERSONALITY, as_json: AsJson = False
) -> None:
    """Show the rounds, votes and members behind a version."""
    from bot.text.lineage import lineage_text
    from storage.insights.lineage import lineage_of

    lineage = look_up(config, personality, lambda session, id_: lineage_of(session, id_, version))
    data = asdict(lineage) if lineage else {"version": BASE_NAME, "chain": [BASE_NAME], "rounds": []}
    show_plain(data, lineage_text(lineage), as_json)


def draw_model_report(
    file: Annotated[Path, typer.Argument(help="PNG file to write.")],
    config: Config = None,
    personality: Personality = DEFAULT_PERSONALITY,
    as_json: AsJson = False,
) -> None:
    """Draw charts of approval, votes, pairs, training and the gate."""
    from bot.charts.report import describe_report, draw_report
    from storage.database.columns import utc_now
    from storage.insights.report import read_report

    if file.suffix.lower() != ".png":
        raise SettingsError(f"{file} is not a PNG file: choose a name that ends in .png")
    report = look_up(config, personality, lambda session, id_: read_report(session, id_, utc_now()))
    try:
        file.write_bytes(draw_report(report, personality))
    except OSError as error:
        raise SettingsError(f"{file} cannot be written ({error.strerror}): choose another file") from error
    show({"file": str(file), **asdict(report)}, f"{describe_report(report)} The charts are in {file}.", as_json)


COMMANDS: dict[str, Callable[..., Any]] = {
    "list": list_models,
    "show": show_model,
    "promote": promote_model,
    "rollback": roll_back_model,
    "prune": prune_models,
    "lineage": show_lineage,
    "report": draw_model_report,
    "gguf": write_model_gguf,
}

model = typer.Typer(no_args_is_help=True, help="Manage versions: list, show, promote, roll back and more.")
for name, command in COMMANDS.items():
    model.command(name)(command)
model.add_typer(canary, name="canary")
