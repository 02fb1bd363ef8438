"""The first page: who answers, what people like, what waits for a decision, and whether everything works."""

from __future__ import annotations

import asyncio

from aiohttp import web

from bot.charts.report import describe_report, draw_report
from bot.console.page import find_here
from bot.text.releases import describe_status
from bot.text.taste import describe_unknown
from storage.database.columns import utc_now
from storage.insights.model_status import read_model_status
from storage.insights.report import read_report
from storage.insights.taste_report import read_taste_report


async def show_overview(request: web.Request) -> web.Response:
    here = await find_here(request)
    services, personality = here.services, here.personality
    await services.releases.current(personality.id)  # finds out whether the champion's files are sound
    status = await services.database.read(
        read_model_status, personality.id, services.settings, base_revision=services.base.revision
    )
    taste = await services.database.read(read_taste_report, personality.id, services.settings)
    report = await services.database.read(read_report, personality.id, utc_now(), services.settings)
    said = describe_status(
        status,
        services.settings,
        base_name=services.base.name,
        problem=services.releases.problem_of(personality.id),
        learns_from_all=services.fixed_basis is not None,
    )
    return here.fill(
        "overview.html",
        lines=said.split("\n"),
        taste=taste,
        unknown=describe_unknown(taste),
        report=describe_report(report).replace("**", ""),
    )


async def show_report(request: web.Request) -> web.Response:
    """Return the picture of `/model report`."""
    here = await find_here(request)
    report = await here.services.database.read(read_report, here.personality.id, utc_now(), here.services.settings)
    picture = await asyncio.to_thread(draw_report, report, here.personality.name)
    return web.Response(body=picture, content_type="image/png")


ROUTES = [web.get("/", show_overview), web.get("/report.png", show_report)]
