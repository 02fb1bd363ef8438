"""The first page: who answers, what people like, what waits for a decision, and how it went.

Its parts are loaded one by one: on a large server, some of them take a second.
"""

from __future__ import annotations

import asyncio
from base64 import b64encode
from enum import StrEnum
from itertools import chain

from aiohttp import web

from bot.charts.report import describe_report, draw_report
from bot.console.page import Here, find_here, read_form
from bot.console.waiting import WaitingItem, read_waiting
from bot.localization.sentences import sentence
from bot.operations.health import examine_health
from bot.text.status import describe_status
from bot.text.taste import describe_finding, describe_now, describe_unknown, describe_use
from storage.database.columns import utc_now
from storage.insights.model_status import read_model_status
from storage.insights.report import read_report
from storage.insights.taste_report import read_taste_report
from storage.insights.visibility import in_channels
from storage.taste.acting import switch_taste

CHECKS = {
    "gateway": "Discord",
    "engine": "Model",
    "database": "Database",
    "trainer": "Trainer",
    "disk": "Disk of the data folder",
}


class Switch(StrEnum):
    ON = "on"
    OFF = "off"


class SwitchPage(StrEnum):
    """Pages that have the switch of the taste."""

    OVERVIEW = "/"
    VERSIONS = "/versions"


async def show_overview(request: web.Request) -> web.Response:
    here = await find_here(request)
    release = await here.services.releases.current(here.personality.id)
    problem = here.services.releases.problem_of(here.personality.id)
    return here.fill("overview.html", champion=release.name, problem=sentence(problem) if problem else "")


async def show_waiting(request: web.Request) -> web.Response:
    """Return what waits for the visitor, for all personalities that they may decide about."""
    here = await find_here(request)
    decides_on = [one for one in here.personalities if here.about(one).may_administer]
    channels = here.visitor.channels
    shown = None if channels is None else list(chain.from_iterable(channels.values()))
    new = here.personality if here.may_administer else None
    waiting = await here.services.database.read(read_waiting, decides_on, shown, here.services.settings, new)
    return here.fill("waiting.html", waiting=[(one, _address_of(here, one)) for one in waiting])


def _address_of(here: Here, waiting: WaitingItem) -> str:
    return here.about(waiting.personality or here.personality).address(waiting.page)


async def show_health(request: web.Request) -> web.Response:
    """Return what `/health` says, which only the operator can do something about."""
    here = await find_here(request)
    if here.visitor.servers is not None:
        raise web.HTTPNotFound
    return here.fill("health.html", checks=(await examine_health(here.services)).checks, names=CHECKS)


async def show_status(request: web.Request) -> web.Response:
    """Return what `/model status` says."""
    here = await find_here(request)
    services, personality = here.services, here.personality
    await services.releases.current(personality.id)  # finds out whether the champion's files are sound
    status = await services.database.read(
        read_model_status, personality.id, services.settings, base_revision=services.base.revision
    )
    said = describe_status(
        status,
        services.settings,
        base_name=services.base.name,
        engine=services.engine.state(),
        problem=services.releases.problem_of(personality.id),
        learns_from_all=services.fixed_basis is not None,
    )
    return here.fill("status.html", lines="\n".join(said).split("\n"))


async def show_likings(request: web.Request) -> web.Response:
    """Return what `/taste` says."""
    here = await find_here(request)
    channels = here.visitor.channels
    seen = [] if channels is None else [in_channels(channels)]
    taste = await here.services.database.read(read_taste_report, here.personality.id, here.services.settings, *seen)
    return here.fill(
        "taste.html",
        taste=taste,
        finding=describe_finding(taste),
        use=describe_use(taste),
        now=describe_now(taste.now),
        unknown=describe_unknown(taste),
    )


async def switch_taste_of(request: web.Request) -> web.Response:
    """Let what people like act on the personality, or not, as `/taste switch` does."""
    here, form = await find_here(request), await read_form(request)
    to, page = form.choice("switch", Switch), form.choice("page", SwitchPage)
    action = here.action("taste switch", f"{to}, of {here.personality.name}")
    await here.require_administrator(action)
    await here.run_audited(action, switch_taste, here.personality.id, on=to is Switch.ON)
    return here.go(here.address(page))


async def show_report(request: web.Request) -> web.Response:
    """Return the picture of `/model report`, with its words for those who cannot see it."""
    here = await find_here(request)
    report = await here.services.database.read(read_report, here.personality.id, utc_now(), here.services.settings)
    picture = await asyncio.to_thread(draw_report, report, here.personality.name)
    words = describe_report(report).replace("**", "")
    return here.fill("report.html", picture=b64encode(picture).decode(), words=words)


ROUTES = [
    web.get("/", show_overview),
    web.get("/overview/waiting", show_waiting),
    web.get("/overview/status", show_status),
    web.get("/overview/taste", show_likings),
    web.get("/overview/report", show_report),
    web.get("/overview/health", show_health),
    web.post("/taste/switch", switch_taste_of),
]
