"""`reactune model promote`, `rollback` and `prune`: choose the champion, delete old files."""

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
    operating,
    operator_action,
    read_settings,
    show,
)
from storage.adapters.stores import open_store
from storage.database.database import open_database
from storage.insights.answering_now import read_answering_now
from storage.operations.audit import record_action
from storage.personalities.personalities import DEFAULT_PERSONALITY
from storage.releases.before_after import BeforeAfter, compare_answers
from storage.releases.promotion import ChampionMove, ReleaseRequest, promote_version, roll_back_champion
from storage.releases.versions import Version

Reason = Annotated[str, typer.Option("--reason", help="Reason, for the audit trail.")]
Override = Annotated[
    bool, typer.Option("--override", help="Use a version that did not pass the gate; requires --reason.")
]


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
        move = promote_version(database, action, request)
        with database.snapshot() as session:
            compared = compare_answers(session, move.before.version, move.after.version)
        _show_champion(move, as_json, compared=compared)


def roll_back_model(
    config: Config = None, personality: Personality = DEFAULT_PERSONALITY, reason: Reason = "", as_json: AsJson = False
) -> None:
    """Go back to the previous champion."""
    from bot.text.taste import describe_now

    command = operator_action("model rollback", reason=reason)
    with operating(config, personality, command) as (database, action, personality_id):
        move = roll_back_champion(database, action, personality_id, reason)
        with database.snapshot() as session:
            now = read_answering_now(session, personality_id, read_settings(config))
        offer = " To switch that off too, run `reactune taste --switch off`." if now.taste_acts else ""
        _show_champion(move, as_json, describe_now(now) + offer)


def _request(config: Path | None, personality_id: int, version: str, reason: str, *, override: bool) -> ReleaseRequest:
    store = open_store(read_settings(config))

    def open_files(found: Version | None) -> None:
        if found is not None:
            store.path(found.digest)

    return ReleaseRequest(personality_id, version, reason, override, open_files)


def _show_champion(move: ChampionMove, as_json: bool, more: str = "", compared: BeforeAfter | None = None) -> None:
    from bot.text.releases import before_after_text

    champion = move.after
    data: dict[str, Any] = {"champion": champion.target, "generation": champion.generation}
    if compared:
        data["before_after"] = asdict(compared)
    text = f"**{champion.target}** is now the champion. {more}".rstrip()
    show(data, text + before_after_text(compared), as_json)


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
