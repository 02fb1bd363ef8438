"""`reactune taste`: what a personality's people like."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from reactune.shared import AsJson, Config, Personality, look_up, read_settings, show_plain
from storage.insights.taste_report import TasteReport, read_taste_report
from storage.personalities.personalities import DEFAULT_PERSONALITY


def show_taste(config: Config = None, personality: Personality = DEFAULT_PERSONALITY, as_json: AsJson = False) -> None:
    """Show what people like, how sure that is, and answers that show it."""
    from bot.text.taste import describe_finding, taste_text

    settings = read_settings(config)
    report = look_up(config, personality, lambda session, id_: read_taste_report(session, id_, settings))
    show_plain(_as_data(report, personality, describe_finding(report)), taste_text(report), as_json)


def _as_data(report: TasteReport, personality: str, finding: str) -> dict[str, Any]:
    return {
        "personality": personality,
        "finding": finding,
        "votes": report.votes,
        "choices": report.choices,
        "voters": report.voters,
        "since": report.since,
        "evidence": report.evidence,
        "is_learning": report.is_learning,
        "is_used": report.is_used,
        "teaches": report.teaches,
        "effects": [asdict(effect) for effect in report.effects],
        "liked": report.liked,
        "disliked": report.disliked,
        "examples": report.examples,
        "order": report.order,
        "not_known_yet": report.open_questions,
    }
