"""`reactune model canary`: try a version on a share of conversations."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from sqlalchemy.orm import Session

from reactune.console import AsJson, Config, Personality, VersionName, read_settings, show
from reactune.operator import look_up, operator_action, operator_name, run_audited_command
from reactune.releases import Override, Reason, releasable
from storage.personalities.personalities import DEFAULT_PERSONALITY
from storage.releases.versions import name_of
from storage.settings.sections import VoteSettings

canary = typer.Typer(no_args_is_help=True, help="Try a version on a share of conversations.")


@canary.command("start")
def start_model_canary(
    version: VersionName,
    *,
    config: Config = None,
    personality: Personality = DEFAULT_PERSONALITY,
    share: Annotated[
        float | None, typer.Option(help="Share of conversations, such as 0.1 (default: release.canary_share or 0.1).")
    ] = None,
    reason: Reason = "",
    override: Override = False,
    as_json: AsJson = False,
) -> None:
    """Let a version answer a share of conversations until the votes decide."""
    from storage.releases.canaries import start_canary

    settings = read_settings(config).release
    audited_action = operator_action(
        "model canary start", f"version: {version}, share: {share}, override: {override}", reason
    )
    target = releasable(config, personality, version, audited_action, override=override)

    def start(session: Session, personality_id: int) -> None:
        start_canary(
            session,
            personality_id,
            target,
            settings,
            share=share,
            by=operator_name(),
            reason=reason or "started on the command line",
            override=override,
        )

    run_audited_command(config, personality, start, audited_action)
    _show_canary(config, personality, as_json)


@canary.command("stop")
def stop_model_canary(
    config: Config = None, personality: Personality = DEFAULT_PERSONALITY, reason: Reason = "", as_json: AsJson = False
) -> None:
    """Stop the canary, so that the champion answers everywhere again."""
    from storage.releases.canaries import stop_canary

    audited_action = operator_action("model canary stop", reason=reason)
    run_audited_command(
        config,
        personality,
        lambda session, id_: stop_canary(session, id_, by=operator_name(), reason=reason),
        audited_action,
    )
    _show_canary(config, personality, as_json)


@canary.command("status")
def show_model_canary(
    config: Config = None, personality: Personality = DEFAULT_PERSONALITY, as_json: AsJson = False
) -> None:
    """Compare the canary's votes with the champion's."""
    _show_canary(config, personality, as_json)


def _show_canary(config: Path | None, personality: str, as_json: bool) -> None:
    status = partial(_canary_status, settings=read_settings(config).votes)
    show(*look_up(config, personality, status), as_json)


def _canary_status(session: Session, personality_id: int, settings: VoteSettings) -> tuple[dict[str, Any], str]:
    from bot.text.releases import canary_data, describe_canary, describe_last_canary
    from storage.database.columns import utc_now
    from storage.releases.canaries import latest_canary, read_canary
    from storage.releases.versions import find_version

    reading = read_canary(session, personality_id, settings)
    if reading is not None:
        return canary_data(reading), describe_canary(reading, utc_now())
    last = latest_canary(session, personality_id)
    challenger = name_of(find_version(session, last.challenger_id)) if last else ""
    data = {"running": False, "last": asdict(last) | {"challenger": challenger} if last else None}
    return data, describe_last_canary(last, challenger)
