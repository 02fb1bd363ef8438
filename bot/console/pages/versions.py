"""The page of versions: what people chose, the gate, promote, roll back, and answers side by side."""

from __future__ import annotations

import asyncio

from aiohttp import web
from sqlalchemy.orm import Session

from bot.console.page import find_here, read_form
from bot.errors import UserFacingError
from bot.releases.comparison import Contestant, choose_prompts, compare_versions, open_two
from bot.text.contests import describe_contest
from bot.text.lineage import lineage_text
from bot.text.releases import describe_version, outcome_words
from storage.conversations.prompt_bank import MAX_PROMPT_CHARS, read_bank
from storage.insights.lineage import lineage_of
from storage.insights.model_status import VersionDetails, VersionList, read_version, read_versions
from storage.personalities.cards import settings_of
from storage.releases import promotion
from storage.releases.evidence import Contest, read_contest
from storage.settings.sections import VoteSettings

LARGEST_NUMBER = 9
"""Digits of a version's number."""


async def show_versions(request: web.Request) -> web.Response:
    here = await find_here(request)
    found, contest = await here.services.database.read(_read, here.personality.id, here.services.settings.votes)
    said = describe_contest(contest) if contest else ""
    return here.fill("versions.html", found=found, contest=said, outcome_of=outcome_words, base=here.services.base)


def _read(session: Session, personality_id: int, votes: VoteSettings) -> tuple[VersionList, Contest | None]:
    return read_versions(session, personality_id), read_contest(session, personality_id, votes)


async def show_version(request: web.Request) -> web.Response:
    here = await find_here(request)
    name = request.match_info["version"]
    details, lineage = await here.services.database.read(_read_one, here.personality.id, name)
    return here.fill(
        "version.html",
        version=details.version,
        lines=describe_version(details).split("\n"),
        lineage=lineage if here.may_administer else "",  # it names voters, of all servers
    )


def _read_one(session: Session, personality_id: int, name: str) -> tuple[VersionDetails, str]:
    details = read_version(session, personality_id, name)
    assert details is not None, "the route names no base"
    return details, lineage_text(lineage_of(session, personality_id, name))


async def promote_chosen(request: web.Request) -> web.Response:
    here, form = await find_here(request), await read_form(request)
    version, reason = form.text("version"), form.text("reason", "")
    ask = promotion.ReleaseRequest(
        here.personality.id, version, reason, form.is_checked("override"), here.services.releases.open
    )
    action = here.action("promote", version, reason)
    await here.require_administrator(action)
    await here.act(action, promotion.promote_version, ask)
    raise web.HTTPSeeOther(here.address("/versions"))


async def roll_back_one(request: web.Request) -> web.Response:
    here, form = await find_here(request), await read_form(request)
    reason = form.text("reason", "")
    action = here.action("roll back", "", reason)
    await here.require_administrator(action)
    await here.act(action, promotion.roll_back_champion, here.personality.id, reason)
    raise web.HTTPSeeOther(here.address("/versions"))


async def compare_side_by_side(request: web.Request) -> web.Response:
    """Ask two versions the same prompts; nothing is stored."""
    here, form = await find_here(request), await read_form(request)
    services = here.services
    settings = settings_of(services.settings, here.personality.card)
    releases = await open_two(services, here.personality.id, form.text("a"), form.text("b"))
    prompts = await asyncio.to_thread(chosen_prompts, form.text("prompt", ""), services.settings.arena.prompts)
    with here.asking():
        compared = await compare_versions(
            services.engine,
            [Contestant(release.name, settings.chat.system_prompt, release) for release in releases],
            prompts,
            generation=settings.generation,
            report=report_nothing,
        )
    template = "compared.html" if here.is_partial else "comparison.html"
    return here.fill(template, names=[release.name for release in releases], compared=compared)


def chosen_prompts(given: str, bank: str) -> list[str]:
    """Return the given prompt, or else some of the bank; raises UserFacingError and SettingsError."""
    if len(given) > MAX_PROMPT_CHARS:
        raise UserFacingError(f"That prompt is longer than {MAX_PROMPT_CHARS:,} characters. Please shorten it.")
    return [given] if given else choose_prompts(read_bank(bank))


async def report_nothing(_done: int, _of: int) -> None:
    pass


ROUTES = [
    web.get("/versions", show_versions),
    web.get(rf"/versions/{{version:v\d{{1,{LARGEST_NUMBER}}}}}", show_version),
    web.post("/versions/promote", promote_chosen),
    web.post("/versions/rollback", roll_back_one),
    web.post("/versions/compare", compare_side_by_side),
]
