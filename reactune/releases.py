"""`reactune model promote`, `rollback`, `prune` and `canary`: choose the champion, try a version, delete old files."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from pathlib import Path
from typing import Annotated

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
    show,
)
from storage.adapters.stores import open_store
from storage.database.database import open_database
from storage.insights.answering_now import read_answering_now
from storage.operations.audit import audited, record_action
from storage.personalities.personalities import DEFAULT_PERSONALITY
from storage.releases.canaries import stop_canary
from storage.releases.evidence import read_canary_state
from storage.releases.promotion import ChampionMove, ReleaseRequest, promote_version, roll_back_champion, try_version
from storage.releases.versions import Version

Reason = Annotated[str, typer.Option("--reason", help="Reason, for the audit trail.")]
Override = Annotated[
    bool, typer.Option("--override", help="Use a version that did not pass the gate; requires --reason.")
]

canary = typer.Typer(no_args_is_help=True, help="Let people compare a version with the champion more often.")


def promote_model(
    version: VersionName,
    *,
    config: Config = None,
    personality: Personality = DEFAULT_PERSONALITY,
    reason: Reason = "",
    override: Override = False,
    as_json: AsJson = False,
) -> None:
    """Make a version the champion, so that it answers."""
    command = operator_action("model promote", f"version: {version}, override: {override}", reason)
    with operating(config, personality, command) as (database, action, personality_id):
        request = _request(config, personality_id, version, reason, override=override)
        _show_champion(promote_version(database, action, request), as_json)


def roll_back_model(
    config: Config = None, personality: Personality = DEFAULT_PERSONALITY, reason: Reason = "", as_json: AsJson = False
) -> None:
    """Go back to the previous champion."""
    from bot.text.releases import describe_now

    command = operator_action("model rollback", reason=reason)
    with operating(config, personality, command) as (database, action, personality_id):
        move = roll_back_champion(database, action, personality_id, reason)
        with database.snapshot() as session:
            now = read_answering_now(session, personality_id, read_settings(config))
        _show_champion(move, as_json, describe_now(now))


def _request(config: Path | None, personality_id: int, version: str, reason: str, *, override: bool) -> ReleaseRequest:
    store = open_store(read_settings(config))

    def open_files(found: Version | None) -> None:
        if found is not None:
            store.path(found.digest)

    return ReleaseRequest(personality_id, version, reason, override, open_files)


def _show_champion(move: ChampionMove, as_json: bool, more: str = "") -> None:
    champion = move.after
    data = {"champion": champion.target, "generation": champion.generation}
    show(data, f"**{champion.target}** is now the champion. {more}".rstrip(), as_json)


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
                    audited_action = operator_action("model prune", one.version.name, one.because)
                    record_action(session, replace(audited_action, personality_id=one.version.personality_id))
    verb = "Would delete" if dry_run else "Deleted"
    lines = [f"- {verb} the files of {g.personality} **{g.version.name}**: {g.because}." for g in gone]
    removed = [
        {"personality": g.personality, "version": g.version.name, "digest": g.version.digest, "because": g.because}
        for g in gone
    ]
    show({"removed": removed, "dry_run": dry_run}, "\n".join(lines) or "Nothing to delete.", as_json)


@canary.command("start")
def start_model_canary(
    version: VersionName,
    *,
    config: Config = None,
    personality: Personality = DEFAULT_PERSONALITY,
    share: Annotated[
        float | None, typer.Option(help="Share of answers with a blind second one (default: release.canary_share).")
    ] = None,
    reason: Reason = "",
    override: Override = False,
    as_json: AsJson = False,
) -> None:
    """Let people compare a version with the champion until their choices decide."""
    subject = f"version: {version}, share: {share}, override: {override}"
    command = operator_action("model canary start", subject, reason)
    with operating(config, personality, command) as (database, action, personality_id):
        request = _request(config, personality_id, version, reason, override=override)
        try_version(database, action, request, read_settings(config).release, share)
    _show_canary(config, personality, as_json)


@canary.command("stop")
def stop_model_canary(
    config: Config = None, personality: Personality = DEFAULT_PERSONALITY, reason: Reason = "", as_json: AsJson = False
) -> None:
    """Stop the canary: the champion stays."""
    command = operator_action("model canary stop", reason=reason)
    with operating(config, personality, command) as (database, action, personality_id):
        database.call(audited(action, stop_canary), personality_id, by=action.actor, reason=reason)
    _show_canary(config, personality, as_json)


@canary.command("status")
def show_model_canary(
    config: Config = None, personality: Personality = DEFAULT_PERSONALITY, as_json: AsJson = False
) -> None:
    """Show what people chose between the canary and the champion."""
    _show_canary(config, personality, as_json)


def _show_canary(config: Path | None, personality: str, as_json: bool) -> None:
    from bot.text.contests import canary_data, describe_canary
    from storage.database.columns import utc_now

    votes = read_settings(config).votes
    state = look_up(config, personality, lambda session, id_: read_canary_state(session, id_, votes))
    show(canary_data(state), describe_canary(state, utc_now()), as_json)
