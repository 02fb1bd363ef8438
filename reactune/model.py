"""`reactune model`: versions and their lineage. See releases.py and model_files.py for the other commands."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from sqlalchemy.orm import Session

from reactune.canary import canary
from reactune.console import AsJson, Config, Personality, VersionName, show, show_plain
from reactune.model_files import prune_models, write_model_gguf
from reactune.operator import look_up
from reactune.releases import promote_model, roll_back_model
from storage.errors import SettingsError
from storage.personalities.personalities import DEFAULT_PERSONALITY
from storage.releases.versions import list_versions, name_of, read_alias, version_named


def list_models(config: Config = None, personality: Personality = DEFAULT_PERSONALITY, as_json: AsJson = False) -> None:
    """List the versions and their votes, newest first."""
    from bot.text.rounds import describe_versions
    from storage.database.enums import CHALLENGER
    from storage.votes.votes import tally_by_version

    def read(session: Session, personality_id: int) -> tuple[dict[str, Any], str]:
        versions, champion = list_versions(session, personality_id), read_alias(session, personality_id)
        challenger = read_alias(session, personality_id, CHALLENGER)
        tallies = tally_by_version(session, personality_id)
        data = {
            "champion": champion.target,
            "challenger": challenger.target if challenger.version else None,
            "versions": [asdict(v) | {"name": v.name} for v in versions],
        }
        return data, describe_versions(versions, champion, challenger, tallies)

    show(*look_up(config, personality, read), as_json)


def show_model(
    version: VersionName, config: Config = None, personality: Personality = DEFAULT_PERSONALITY, as_json: AsJson = False
) -> None:
    """Show a version's parent, round, measurements, votes and releases."""
    from bot.text.rounds import describe_version
    from storage.releases.versions import failed_checks, find_version, moves_of
    from storage.training.rounds import find_round
    from storage.votes.votes import Tally, tally_by_version

    def read(session: Session, personality_id: int) -> tuple[dict[str, Any], str]:
        found = version_named(session, personality_id, version)
        if found is None:
            return {"name": "base"}, "**base**: the base model, without an adapter"
        round_ = find_round(session, found.round_id) if found.round_id else None
        votes = tally_by_version(session, personality_id).get(found.id, Tally())
        moves, checks = moves_of(session, found), failed_checks(session, found)
        data = asdict(found) | {"name": found.name, "votes": asdict(votes), "moves": [asdict(m) for m in moves]}
        parent = find_version(session, found.parent_id)
        return data, describe_version(found, parent, round_, votes, moves, failed_checks=checks)

    show(*look_up(config, personality, read), as_json)


def show_lineage(
    version: VersionName, config: Config = None, personality: Personality = DEFAULT_PERSONALITY, as_json: AsJson = False
) -> None:
    """Show the rounds, votes and members behind a version."""
    from bot.text.lineage import NO_LINEAGE, PLAIN, lineage_lines, plain_text, user_by_id
    from storage.insights.lineage import read_lineage

    def read(session: Session, personality_id: int) -> tuple[dict[str, Any], str]:
        found = version_named(session, personality_id, version)
        if found is None:
            return {"version": name_of(None), "chain": [name_of(None)], "rounds": []}, plain_text([NO_LINEAGE])
        lineage = read_lineage(session, found.id)
        return asdict(lineage), plain_text(lineage_lines(lineage, user_by_id, PLAIN))

    show_plain(*look_up(config, personality, read), as_json)


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
