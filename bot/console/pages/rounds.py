"""The page of training rounds: the one that is running, those before, and the button that asks for another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from aiohttp import web
from sqlalchemy.orm import Session

from bot.console.page import find_here, read_before
from bot.errors import UserFacingError
from bot.text.rounds import HEADLINES, describe_round
from storage.database.enums import SOURCE_WORDS, PairSource
from storage.insights.report import pairs_of_rounds
from storage.runtime.processes import TRAINER, is_alive
from storage.training.rounds import Round, list_rounds, request_round

SHOWN = 20


@dataclass(frozen=True)
class ShownRound:
    round: Round
    headline: str
    lines: list[str]
    pairs: dict[str, int]
    """How many pairs, by their source in words."""


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
    pairs = {found.round_id: found.by_source for found in pairs_of_rounds(session, [one.id for one in rounds])}
    return [_shown(one, pairs.get(one.id, {})) for one in rounds], is_alive(session, TRAINER)


def _shown(one: Round, pairs: Mapping[PairSource, int]) -> ShownRound:
    _, *lines = describe_round(one).split("\n")
    return ShownRound(one, HEADLINES[one.status], lines, {SOURCE_WORDS[source]: n for source, n in pairs.items()})


async def ask_for_round(request: web.Request) -> web.Response:
    """Ask for a round; if one is already open, show that one."""
    here = await find_here(request)
    action = here.action("train")
    await here.require_administrator(action)
    await here.run_audited(action, request_round, here.personality.id, here.visitor.name)
    raise web.HTTPSeeOther(here.address("/rounds"))


ROUTES = [web.get("/rounds", show_rounds), web.get("/rounds/newest", show_newest), web.post("/rounds", ask_for_round)]
