"""The page of training rounds: the one that is running, those before, and the button that asks for another."""

from __future__ import annotations

from dataclasses import dataclass

from aiohttp import web
from sqlalchemy.orm import Session

from bot.charts.frame import Words
from bot.charts.rounds import SIGNS, describe_curve, describe_gate
from bot.console.page import Here, get, post
from bot.console.pages.versions import ShownContest, show_contest
from bot.console.rendering import DrawnCurve, lay_out_curve
from bot.errors import UserFacingError
from bot.localization.sentences import gettext, sentence
from bot.text.rounds import (
    HEADLINES,
    describe_changes,
    describe_details,
    describe_metrics,
    describe_notes,
    describe_pairs,
    describe_progress,
    describe_votes,
)
from storage.database.enums import RoundStatus, TrainingSource
from storage.insights.report import Curve, RoundPairs, curve_of, gate_of, pairs_of_rounds
from storage.releases.before_after import BeforeAfter, compare_round
from storage.releases.versions import Version, version_of_round
from storage.runtime.processes import TRAINER, is_alive
from storage.training.rounds import GateCheck, Round, list_rounds, offered_examples, request_round

SHOWN = 20


@dataclass(frozen=True)
class ShownRound:
    round: Round
    headline: str
    progress: str
    """Its step and the time left; empty unless it runs."""
    version: Version | None
    outcome: str
    """The reason for its end; empty until then."""
    changes: str
    """How the version's answers differ; empty if nothing is known."""
    compared: BeforeAfter | None
    contest: ShownContest | None
    """People's comparison of the version, while it goes on."""
    details: list[str]
    """The numbers of votes, pairs and measures."""
    curve: tuple[DrawnCurve, str] | None
    """The loss of each step, and the curve in words."""
    gate: Words | None
    checks: list[tuple[str, GateCheck]]
    """The gate's checks, each with its sign."""


async def show_rounds(here: Here) -> web.Response:
    before_id = here.number("before")
    found, has_trainer = await here.services.database.read(_read, here, SHOWN + 1, before_id)
    examples = await here.services.database.read(offered_examples, here.personality)
    older = found[SHOWN - 1].round.id if len(found) > SHOWN else None
    return here.fill(
        "rounds.html",
        rounds=found[:SHOWN],
        has_trainer=has_trainer,
        is_first=before_id is None,
        older=older,
        examples=examples,
    )


async def show_newest(here: Here) -> web.Response:
    """Return the newest round alone, for the page that follows it."""
    found, has_trainer = await here.services.database.read(_read, here, 1)
    if not found:
        raise UserFacingError("There is no round yet.")
    return here.fill("round.html", shown=found[0], has_trainer=has_trainer, is_newest=True)


def _read(session: Session, here: Here, limit: int, before_id: int | None = None) -> tuple[list[ShownRound], bool]:
    rounds = list_rounds(session, here.personality.id, limit, before_id)
    pairs = {found.round_id: found for found in pairs_of_rounds(session, [one.id for one in rounds])}
    contest = show_contest(session, here)
    shown = [
        _shown(one, pairs.get(one.id), version_of_round(session, one.id), compare_round(session, one.id), contest)
        for one in rounds
    ]
    return shown, is_alive(session, TRAINER)


def _shown(
    one: Round,
    pairs: RoundPairs | None,
    version: Version | None,
    compared: BeforeAfter | None,
    contest: ShownContest | None,
) -> ShownRound:
    curve, gate = curve_of(one.id, one.metrics), gate_of(one.id, one.gate)
    learned = f"It learned from {describe_pairs(pairs.by_source, pairs.validation)}." if pairs else ""
    details = [learned, describe_metrics(one.metrics), describe_details(one.metrics), *describe_votes(one.learned_from)]
    return ShownRound(
        round=one,
        headline=HEADLINES[one.status],
        progress=describe_progress(one.progress) if one.status is RoundStatus.RUNNING else "",
        version=version,
        outcome=sentence(gettext(one.reason)) if one.reason else "",
        changes=describe_changes(one.metrics),
        compared=compared,
        contest=contest if contest and version and contest.version == version.name else None,
        details=describe_notes(one.learned_from) if one.is_open else [*filter(None, details)],
        curve=(lay_out_curve(curve.losses), _describe_losses(curve)) if curve else None,
        gate=describe_gate(gate) if gate else None,
        checks=[(SIGNS[check.outcome][0], check) for check in gate.checks] if gate else [],
    )


def _describe_losses(curve: Curve) -> str:
    said = describe_curve(curve)
    return f"{said.title}. {said.caption}; between {min(curve.losses):.2f} and {max(curve.losses):.2f}."


async def ask_for_round(here: Here) -> web.Response:
    """Request a round, on people's feedback or on the card's examples; if one is already open, show that one."""
    learns_from = TrainingSource.EXAMPLES if here.form.has("from_examples") else TrainingSource.VOTES
    action = here.action("train", f"learn_from: {learns_from}")
    await here.require_administrator(action)
    await here.run_audited(action, request_round, here.personality.id, here.visitor.name, learns_from)
    raise web.HTTPSeeOther(here.address("/rounds"))


ROUTES = [get("/rounds", show_rounds), get("/rounds/newest", show_newest), post("/rounds", ask_for_round)]
