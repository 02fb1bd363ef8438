"""`reactune taste`: the likings of a personality's people."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any, Literal

import typer

from reactune.shared import AsJson, Config, Personality, look_up, operating, operator_action, read_settings, show_plain
from storage.insights.taste_report import TasteReport, read_taste_report
from storage.operations.audit import audited
from storage.personalities.personalities import DEFAULT_PERSONALITY
from storage.runtime.shell import say_where_to_type
from storage.taste.acting import switch_taste


def show_taste(
    config: Config = None,
    personality: Personality = DEFAULT_PERSONALITY,
    switch: Annotated[
        Literal["on", "off"] | None,
        typer.Option("--switch", help="Let the personality follow what members like, or stop that."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show what members like, how sure that is, and answers that show it; or switch off and on whether it acts."""
    from bot.text.taste import describe_finding, taste_text

    settings = read_settings(config)
    if switch is not None:
        command = operator_action("taste switch", f"{switch}, of {personality}")
        with operating(config, personality, command) as (database, action, personality_id):
            database.call(audited(action, switch_taste), personality_id, on=switch == "on")
    report = look_up(config, personality, lambda session, id_: read_taste_report(session, id_, settings))
    show_plain(_as_data(report, personality, describe_finding(report)), say_where_to_type(taste_text(report)), as_json)


def _as_data(report: TasteReport, personality: str, finding: str) -> dict[str, Any]:
    return {
        "personality": personality,
        "finding": finding,
        "votes": report.counts.votes,
        "choices": report.counts.choices,
        "others": report.counts.others,
        "members": report.counts.people,
        "since": report.since,
        "e_value": report.e_value,
        "is_learning": report.is_learning,
        "is_switched_off": report.now.is_switched_off,
        "is_used": report.now.chooses,
        "teaches": report.teaches,
        "ranks": report.ranks,
        "effects": [asdict(effect) for effect in report.effects],
        "liked": report.liked,
        "disliked": report.disliked,
        "examples": report.now.liked,
        "order": report.now.order,
        "not_known_yet": report.open_questions,
    }
