"""`reactune model`: lists, shows, promotes, rolls back, prunes, draws and writes versions."""

from __future__ import annotations

import contextlib
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any

import typer

from reactune.shared import (
    AsJson,
    Config,
    Personality,
    VersionName,
    look_up,
    operating,
    operator_action,
    read_settings,
    resolve_base,
    show,
    show_plain,
)
from storage.adapters.stores import open_store
from storage.database.database import open_database
from storage.errors import SettingsError
from storage.insights.taste_report import read_answering_now
from storage.models.adapter_checks import require_base
from storage.operations.audit import record_action
from storage.personalities.personalities import DEFAULT_PERSONALITY
from storage.releases.before_after import BeforeAfter, compare_answers
from storage.releases.promotion import ChampionMove, ReleaseRequest, promote_version, roll_back_champion
from storage.releases.versions import Version, name_of, version_named
from storage.settings.sections import Settings
from storage.wording import BASE_NAME

model = typer.Typer(
    no_args_is_help=True,
    help="Manage versions: list, show, promote, roll back and more (for base models, see `reactune models`).",
)
Reason = Annotated[str, typer.Option("--reason", help="Reason, for the audit trail.")]
Override = Annotated[
    bool,
    typer.Option(
        "--override", help="Use a version although a check failed or members still compare it; requires --reason."
    ),
]


@model.command("list")
def list_models(config: Config = None, personality: Personality = DEFAULT_PERSONALITY, as_json: AsJson = False) -> None:
    """List the versions and their votes, newest first."""
    from bot.text.releases import describe_versions
    from storage.insights.model_status import read_versions

    settings = read_settings(config)
    found = look_up(config, personality, lambda session, id_: read_versions(session, id_, settings))
    data = {
        "in_use": name_of(found.now.champion),
        "since": found.now.since,
        "being_compared": found.contest.rival.name if found.contest else None,
        "comparison": found.contest.numbers if found.contest else None,
        "versions": [
            asdict(version) | {"name": version.name, "votes": asdict(found.votes.on(version.id))}
            for version in found.versions
        ],
        "base_votes": asdict(found.votes.on(None)),
        "votes_given": found.votes.given,
        "votes_left_out": found.votes.left_out,
    }
    show(data, describe_versions(found), as_json)


@model.command("show")
def show_model(
    version: VersionName, config: Config = None, personality: Personality = DEFAULT_PERSONALITY, as_json: AsJson = False
) -> None:
    """Show a version's parent, round, measurements, votes and releases."""
    from bot.text.releases import before_after_text, describe_version
    from storage.insights.model_status import read_version

    settings = read_settings(config)
    details = look_up(config, personality, lambda session, id_: read_version(session, id_, version, settings))
    if details is None:
        show({"name": BASE_NAME}, "**base**: the base model, without an adapter", as_json)
        return
    data = asdict(details.version) | {
        "name": details.version.name,
        "votes": asdict(details.votes),
        "moves": [asdict(move) for move in details.moves],
        "before_after": details.compared and asdict(details.compared),
    }
    show(data, describe_version(details) + before_after_text(details.compared), as_json)


@model.command("promote")
def promote_model(
    version: VersionName,
    *,
    config: Config = None,
    personality: Personality = DEFAULT_PERSONALITY,
    reason: Reason = "",
    override: Override = False,
    as_json: AsJson = False,
) -> None:
    """Put a version in use, so that it answers."""
    settings = read_settings(config)
    command = operator_action("version promote", f"version: {version}, override: {override}", reason)
    with operating(config, personality, command) as (database, action, personality_id):
        request = request_release(settings, personality_id, version, reason, override=override)
        move = promote_version(database, action, request)
        with database.snapshot() as session:
            compared = compare_answers(session, move.before.version, move.after.version)
        _show_champion(move, as_json, compared=compared)


@model.command("rollback")
def roll_back_model(
    config: Config = None, personality: Personality = DEFAULT_PERSONALITY, reason: Reason = "", as_json: AsJson = False
) -> None:
    """Go back to the previous version."""
    from bot.text.taste import describe_now

    command = operator_action("version rollback", reason=reason)
    with operating(config, personality, command) as (database, action, personality_id):
        move = roll_back_champion(database, action, personality_id, reason)
        with database.snapshot() as session:
            now = read_answering_now(session, personality_id, read_settings(config))
        offer = " To switch that off too, run `reactune taste --switch off`." if now.taste_acts else ""
        _show_champion(move, as_json, describe_now(now) + offer)


def request_release(
    settings: Settings, personality_id: int, version: str, reason: str, *, override: bool
) -> ReleaseRequest:
    store = open_store(settings)

    def open_files(found: Version | None) -> None:
        if found is not None:
            store.path(found.digest)

    return ReleaseRequest(personality_id, version, reason, override, open_files)


def _show_champion(move: ChampionMove, as_json: bool, more: str = "", compared: BeforeAfter | None = None) -> None:
    from bot.text.releases import before_after_text

    champion = move.after
    data: dict[str, Any] = {"in_use": champion.target, "changes": champion.generation}
    if compared:
        data["before_after"] = asdict(compared)
    text = f"**{champion.target}** is now in use. {more}".rstrip()
    show(data, text + before_after_text(compared), as_json)


@model.command("prune")
def prune_models(
    config: Config = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only list what would be deleted.")] = False,
    as_json: AsJson = False,
) -> None:
    """Delete adapter files as privacy.withdraw_adapters and training.keep_versions say."""
    from storage.models.withdrawal import choose_withdrawals, withdraw_adapters

    settings = read_settings(config)
    with contextlib.closing(open_database(settings)) as database:
        if dry_run:
            with database.snapshot() as session:
                gone = choose_withdrawals(session, settings)
        else:
            gone = withdraw_adapters(database, open_store(settings), settings)
            with database.transaction() as session:
                for one in gone:
                    audited_action = operator_action("version prune", one.version.name, one.because)
                    record_action(session, replace(audited_action, personality_id=one.version.personality_id))
    verb = "Would delete" if dry_run else "Deleted"
    lines = [f"- {verb} the files of {g.personality} **{g.version.name}**: {g.because}." for g in gone]
    removed = [
        {"personality": g.personality, "version": g.version.name, "digest": g.version.digest, "because": g.because}
        for g in gone
    ]
    show({"removed": removed, "dry_run": dry_run}, "\n".join(lines) or "Nothing to delete.", as_json)


@model.command("history")
def show_history(
    version: VersionName, config: Config = None, personality: Personality = DEFAULT_PERSONALITY, as_json: AsJson = False
) -> None:
    """Show the rounds, votes and members behind a version."""
    from bot.text.lineage import as_plain_text, lineage_lines
    from storage.insights.lineage import lineage_of

    lineage = look_up(config, personality, lambda session, id_: lineage_of(session, id_, version))
    data: dict[str, Any] = {"version": BASE_NAME, "chain": [BASE_NAME], "rounds": []}
    if lineage:
        data = asdict(lineage)
    show_plain(data, as_plain_text(lineage_lines(lineage)), as_json)


@model.command("report")
def draw_model_report(
    file: Annotated[Path, typer.Argument(help="PNG file to write.")],
    config: Config = None,
    personality: Personality = DEFAULT_PERSONALITY,
    as_json: AsJson = False,
) -> None:
    """Draw charts of approval, votes, pairs, training and checks."""
    from bot.charts.report import describe_report, draw_report
    from storage.database.columns import utc_now
    from storage.insights.report import read_report

    if file.suffix.lower() != ".png":
        raise SettingsError(f"{file} is not a PNG file: choose a name that ends in .png")
    settings = read_settings(config)
    report = look_up(config, personality, lambda session, id_: read_report(session, id_, utc_now(), settings))
    try:
        file.write_bytes(draw_report(report, personality))
    except OSError as error:
        raise SettingsError(f"{file} cannot be written ({error.strerror}): choose another file") from error
    show({"file": str(file), **asdict(report)}, f"{describe_report(report)} The charts are in {file}.", as_json)


@model.command("gguf")
def write_model_gguf(
    version: VersionName,
    folder: Annotated[Path, typer.Argument(help="Folder for the file, which is named after the version.")],
    config: Config = None,
    personality: Personality = DEFAULT_PERSONALITY,
    as_json: AsJson = False,
) -> None:
    """Write a version as a GGUF file for llama.cpp's server."""
    from storage.adapters.folder_store import AdapterRef
    from storage.models.gguf import gguf_name, write_gguf

    settings = read_settings(config)
    found = look_up(config, personality, lambda session, id_: version_named(session, id_, version))
    if found is None:
        raise SettingsError("the base model has no adapter to write: name a version, such as v3")
    adapter = AdapterRef(found.digest, open_store(settings).path(found.digest))
    base = resolve_base(settings)
    require_base(adapter.path, base)
    file = folder / gguf_name(adapter)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_gguf(adapter, base, file)
    except OSError as error:
        raise SettingsError(f"{file} cannot be written ({error.strerror}): choose another folder") from error
    data = {"version": found.name, "digest": found.digest, "file": str(file)}
    text = f"Wrote **{found.name}** to {file}. Start llama-server with `--lora {file} --lora-init-without-apply`."
    show(data, text, as_json)
