"""The commands about members: privacy report, trace, votes outcomes."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from reactune.shared import AsJson, Config, Personality, read_settings, reading, resolve_base, show_plain
from storage.personalities.personalities import DEFAULT_PERSONALITY, personality_named

privacy = typer.Typer(no_args_is_help=True, help="Show what is stored about members.")


@privacy.command("report")
def show_privacy_report(config: Config = None, as_json: AsJson = False) -> None:
    """Show what is stored about members by use in training and age, with opt-ins, deletions and marked versions."""
    from bot.privacy.notices import report_lines
    from storage.database.columns import utc_now
    from storage.privacy.retention import report_privacy

    settings = read_settings(config)
    with reading(settings) as session:
        report = report_privacy(session, settings.privacy, utc_now())
    show_plain(asdict(report), "\n".join(report_lines(report, settings.privacy)), as_json)


def trace_request(
    request: Annotated[str, typer.Argument(help="Reference ID from an error message, or message ID of an answer.")],
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Show the messages, votes, rounds and versions behind an answer."""
    from bot.text.lineage import trace_lines
    from storage.insights.answers import trace

    with reading(read_settings(config)) as session:
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
    from bot.text.lineage import as_plain_text, outcome_lines
    from storage.insights.vote_outcomes import vote_outcomes

    settings = read_settings(config)
    base = resolve_base(settings)
    with reading(settings) as session:
        found = personality_named(session, personality)
        outcomes = vote_outcomes(session, user_id, personality=found, settings=settings, base_revision=base.revision)
    data = {"user_id": user_id, "votes": [asdict(outcome) for outcome in outcomes]}
    show_plain(data, as_plain_text(outcome_lines(outcomes, user_id)), as_json)
