"""`reactune model promote` and `rollback`: choose the champion."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from sqlalchemy.orm import Session

from reactune.console import AsJson, Config, Personality, VersionName, read_settings, show
from reactune.operator import look_up, operator_action, operator_name, record_command, run_audited_command
from storage.adapters import open_store
from storage.database.enums import AuditOutcome
from storage.errors import StorageError
from storage.operations.audit import AuditedAction
from storage.personalities.personalities import DEFAULT_PERSONALITY
from storage.releases.versions import Alias, Version, ask_gate, name_of, promote, read_alias, roll_back, version_named

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
    champion = look_up(config, personality, read_alias)
    audited_action = operator_action("model promote", f"version: {version}, override: {override}", reason)
    target = releasable(config, personality, version, audited_action, override=override)

    def move(session: Session, personality_id: int) -> Alias:
        return promote(
            session,
            personality_id,
            target,
            expected_generation=champion.generation,
            by=operator_name(),
            reason=reason or "promoted on the command line",
            override=override,
        )

    _show_champion(run_audited_command(config, personality, move, audited_action), as_json)


def roll_back_model(
    config: Config = None,
    personality: Personality = DEFAULT_PERSONALITY,
    reason: Reason = "rolled back on the command line",
    as_json: AsJson = False,
) -> None:
    """Go back to the previous champion."""
    champion = look_up(config, personality, read_alias)

    def move(session: Session, personality_id: int) -> Alias:
        return roll_back(
            session, personality_id, expected_generation=champion.generation, by=operator_name(), reason=reason
        )

    _show_champion(
        run_audited_command(config, personality, move, operator_action("model rollback", reason=reason)), as_json
    )


def releasable(
    config: Path | None, personality: str, version: str, audited_action: AuditedAction, *, override: bool
) -> Version | None:
    """Return the version if it passed the gate or is overridden, and its files are intact; record a refusal."""

    def find(session: Session, personality_id: int) -> Version | None:
        found = version_named(session, personality_id, version)
        ask_gate(session, found, override=override, reason=audited_action.reason)
        return found

    try:
        target = look_up(config, personality, find)
        if target is not None:
            open_store(read_settings(config)).path(target.digest)
    except StorageError as error:
        record_command(config, personality, audited_action, AuditOutcome.REFUSED, str(error))
        raise
    return target


def _show_champion(alias: Alias, as_json: bool) -> None:
    data = {"champion": alias.target, "generation": alias.generation}
    show(data, f"**{name_of(alias.version)}** is now the champion.", as_json)
