"""The page of training rounds: the one that is running, those before, and the button that asks for another."""

from __future__ import annotations

from dataclasses import dataclass

from aiohttp import web
from sqlalchemy.orm import Session

from bot.charts.frame import Words
from bot.charts.rounds import describe_curve, describe_gate
from bot.console.page import find_here, read_before, read_form
from bot.console.rendering import DrawnCurve, lay_out_curve
from bot.errors import UserFacingError
from bot.text.rounds import HEADLINES, describe_details, describe_pairs, describe_round
from storage.database.enums import GateVerdict, TrainingSource
from storage.insights.report import Curve, GateCheck, RoundPairs, curve_of, gate_of, pairs_of_rounds
from storage.releases.before_after import BeforeAfter, compare_round
from storage.runtime.processes import TRAINER, is_alive
from storage.training.rounds import Round, list_rounds, request_round

SHOWN = 20
SIGNS = {GateVerdict.PASS: "✓", GateVerdict.FAIL: "✗", GateVerdict.NOT_ENOUGH_EVIDENCE: "?"}


@dataclass(frozen=True)
class ShownRound:
    round: Round
    headline: str
    lines: list[str]
    pairs: str
    """The numbers of its pairs in words; empty if it has none."""
    curve: tuple[DrawnCurve, str] | None
    """The loss of each step, and the curve in words."""
    gate: Words | None
    checks: list[tuple[str, GateCheck]]
    """The gate's checks, each with its sign."""
    details: str
    """Its measures for people who train models."""
    compared: BeforeAfter | None


async def show_rounds(request: web.Request) -> web.Response:
    here = await find_here(request)
    before_id = read_before(request)
    found, has_trainer = await here.services.database.read(_read, here.personality.id, SHOWN + 1, before_id)
    older = found[SHOWN - 1].round.id if len(found) > SHOWN else None
    return here.fill(
        "rounds.html", rounds=found[:SHOWN], has_trainer=has_trainer, is_first=before_id is None, older=older
    )


async def show_newest(request: web.Request) -> web.Response:
    """Return the newest round alone, for the page that follows it."""
    here = await find_here(request)
    found, has_trainer = await here.services.database.read(_read, here.personality.id, 1)
    if not found:
        raise UserFacingError("There is no round yet.")
    return here.fill("round.html", shown=found[0], has_trainer=has_trainer, is_newest=True)


def _read(
    session: Session, personality_id: int, limit: int, before_id: int | None = None
) -> tuple[list[ShownRound], bool]:
    rounds = list_rounds(session, personality_id, limit, before_id)
    pairs = {found.round_id: found for found in pairs_of_rounds(session, [one.id for one in rounds])}
    shown = [_shown(one, pairs.get(one.id), compare_round(session, one.id)) for one in rounds]
    return shown, is_alive(session, TRAINER)


def _shown(one: Round, pairs: RoundPairs | None, compared: BeforeAfter | None) -> ShownRound:
    _, *lines = describe_round(one).split("\n")
    curve, gate = curve_of(one.id, one.metrics), gate_of(one.id, one.gate)
    return ShownRound(
        round=one,
        headline=HEADLINES[one.status],
        lines=lines,
        pairs=describe_pairs(pairs.by_source, pairs.validation) if pairs else "",
        curve=(lay_out_curve(curve.losses), _describe_losses(curve)) if curve else None,
        gate=describe_gate(gate) if gate else None,
        checks=[(SIGNS[check.outcome], check) for check in gate.checks] if gate else [],
        details=describe_details(one.metrics),
        compared=compared,
    )


def _describe_losses(curve: Curve) -> str:
    said = describe_curve(curve)
    return f"{said.title}. {said.caption}; between {min(curve.losses):.2f} and {max(curve.losses):.2f}."


async def ask_for_round(request: web.Request) -> web.Response:
    """Request a round, on people's feedback or on the card's examples; if one is already open, show that one."""
    here, form = await find_here(request), await read_form(request)
    learns_from = TrainingSource.EXAMPLES if form.is_checked("from_examples") else TrainingSource.VOTES
    action = here.action("train", f"learn_from: {learns_from}")
    await here.require_administrator(action)
    await here.run_audited(action, request_round, here.personality.id, here.visitor.name, learns_from)
    raise web.HTTPSeeOther(here.address("/rounds"))


ROUTES = [web.get("/rounds", show_rounds), web.get("/rounds/newest", show_newest), web.post("/rounds", ask_for_round)]
