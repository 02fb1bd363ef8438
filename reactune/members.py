"""The commands about members: privacy report, trace, votes outcomes."""

from __future__ import annotations

import contextlib
from dataclasses import asdict
from typing import Annotated

import typer
from sqlalchemy.orm import Session

from reactune.console import AsJson, Config, Personality, look_up, progress, read_settings, show_plain
from storage.database.database import open_database
from storage.personalities.personalities import DEFAULT_PERSONALITY, read_personality

privacy = typer.Typer(no_args_is_help=True, help="Show what is stored about members.")


@privacy.command("report")
def show_privacy_report(config: Config = None, as_json: AsJson = False) -> None:
    """Show what is stored about members by training basis and age, with opt-ins, deletions and marked versions."""
    from bot.privacy.notices import report_lines
    from storage.database.columns import utc_now
    from storage.privacy.consent import report_privacy

    settings = read_settings(config)
    database = open_database(settings)
    with contextlib.closing(database), database.snapshot() as session:
        report = report_privacy(session, settings.privacy, utc_now())
    show_plain(asdict(report), "\n".join(report_lines(report)), as_json)


def trace_request(
    request: Annotated[str, typer.Argument(help="Reference ID from an error message, or message ID of an answer.")],
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Show the messages, votes, rounds and versions behind an answer."""
    from bot.text.lineage import trace_lines
    from storage.insights.lineage import trace

    with contextlib.closing(open_database(read_settings(config))) as database, database.snapshot() as session:
        replies = trace(session, request.strip("`"))
    show_plain({"replies": [asdict(reply) for reply in replies]}, "\n".join(trace_lines(replies)), as_json)
    if not replies:
        raise typer.Exit(1)


votes = typer.Typer(no_args_is_help=True, help="Show what happened to votes.")


@votes.command("outcomes")
def show_vote_outcomes(
    user_id: Annotated[int, typer.Argument(min=0, max=2**63 - 1, help="Discord ID of the member.")],
    config: Config = None,
    personality: Personality = DEFAULT_PERSONALITY,
    as_json: AsJson = False,
) -> None:
    """Show what happened to a member's votes, newest first."""
    from bot.text.lineage import outcome_text
    from storage.insights.vote_outcomes import VoteOutcome, vote_outcomes
    from storage.models.base_model import resolve_base_model

    settings = read_settings(config)
    with progress() as say:
        base = resolve_base_model(settings.model.base, settings.data.directory, say)

    def read(session: Session, personality_id: int) -> list[VoteOutcome]:
        whose = read_personality(session, personality_id)
        return vote_outcomes(session, user_id, personality=whose, settings=settings, base_revision=base.revision)

    outcomes = look_up(config, personality, read)
    data = {"user_id": user_id, "votes": [asdict(outcome) for outcome in outcomes]}
    show_plain(data, outcome_text(outcomes, user_id), as_json)
