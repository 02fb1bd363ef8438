"""Serves the console's pages on this machine, on the bot's event loop."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from aiohttp import hdrs, web
from discord.ext import commands

from bot.cogs.choose import choose_of
from bot.console import access, signin
from bot.console.addresses import ADDRESSES, addresses_of, origin_of
from bot.console.admins import AdminLookup
from bot.console.limits import ConsoleLimits
from bot.console.page import DRAWER, NAVIGATION, OVERVIEW, PLACES, TALK, TALKS, Place
from bot.console.pages import (
    answers,
    card_files,
    gaps,
    knowledge,
    overview,
    personalities,
    playground,
    rounds,
    sitting,
    trust,
    versions,
)
from bot.console.talks import Talks
from bot.services import Services
from storage.operations.console_sessions import LOOPBACK, digest_of
from storage.settings.sections import ConsoleSettings, Settings

log = logging.getLogger(__name__)

STATIC = Path(__file__).with_name("static")
SHUTDOWN_S = 2.0
"""Time that unfinished pages get when the bot stops."""
MOST_BYTES = 2_000_000
"""Maximum bytes of a form, such as uploaded prompts."""
BRING_FILES = ("/knowledge", "/personalities/import")
FILES_AT_ONCE = 10
"""Number of files of the maximum size that fit in one form."""
_PAGES = (
    overview,
    sitting,
    answers,
    knowledge,
    gaps,
    versions,
    rounds,
    personalities,
    card_files,
    playground,
    trust,
)
ROUTES = [route for page in _PAGES for route in page.ROUTES]


@dataclass(frozen=True)
class FirstPage:
    """A page that comes before the console's own ones, where people enter."""

    address: str
    name: str
    routes: Sequence[web.AbstractRouteDef]
    more: tuple[tuple[str, str], ...] = ()
    """(address, name) of its pages under More."""


@web.middleware
async def limit_size(request: web.Request, handler: access.Handler) -> web.StreamResponse:
    """Refuse a form that is too large by its declared size, before it is read; some forms bring files."""
    if hdrs.CONTENT_ENCODING in request.headers:  # its size when unpacked is unknown
        return access.refuse(request, "Send the form as it is, not compressed.", status=415)
    brings_files = request.path.startswith(BRING_FILES) and request.content_type == "multipart/form-data"
    limit = _most_bytes(request.app[access.SERVICES].settings) if brings_files else MOST_BYTES
    if request.body_exists and (request.content_length is None or request.content_length > limit):
        return access.refuse(request, f"That is too large: send at most {limit / 1e6:.0f} MB at once.", status=413)
    return await handler(request)


def _most_bytes(settings: Settings) -> int:
    return MOST_BYTES + FILES_AT_ONCE * settings.knowledge.max_file_bytes


async def open_console(
    bot: commands.AutoShardedBot, services: Services, settings: ConsoleSettings, first_page: FirstPage | None = None
) -> web.AppRunner | None:
    """Serve the console until the runner's cleanup; return None if it is switched off, or its port is not available.

    Raises SettingsError.
    """
    signin.require_whole_sign_in(services.settings)
    if not settings.port:
        return None
    app = web.Application(
        middlewares=[access.explain_errors, limit_size, access.require_visitor],
        client_max_size=_most_bytes(services.settings),
    )
    app.on_response_prepare.append(access.add_headers)
    app[access.BOT], app[access.SERVICES], app[ADDRESSES] = bot, services, addresses_of(settings)
    app[access.ADMINS], app[access.LIMITS] = AdminLookup(bot, services.settings), ConsoleLimits()
    signin.prepare_sign_in(app, bot, services.settings)
    app[DRAWER], app[TALKS] = choose_of(bot).drawer, Talks(services)
    app[NAVIGATION], app[access.START] = PLACES, OVERVIEW
    app.add_routes([web.get("/alive", _alive), web.static("/static", STATIC)])
    app.add_routes([*access.ROUTES, *signin.ROUTES, *ROUTES])
    if first_page is not None:
        talk = Place(TALK.name, ((first_page.address, first_page.name), *TALK.pages))
        more = replace(PLACES[-1], pages=PLACES[-1].pages + first_page.more)
        app[NAVIGATION], app[access.START] = (talk, *PLACES[1:-1], more), first_page.address
        app.add_routes(first_page.routes)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=SHUTDOWN_S)
    await runner.setup()
    try:
        await web.TCPSite(runner, LOOPBACK, settings.port).start()
    except OSError as error:
        await runner.cleanup()
        log.warning(
            "The console is not available: port %d cannot be opened (%s). Another bot may use it: set console.port to "
            "a free port, or to 0 for none.",
            settings.port,
            error.strerror,
        )
        return None
    return runner


async def _alive(request: web.Request) -> web.Response:
    """Say which database this console uses, so that no link is made in another one, and its address behind a proxy."""
    database = digest_of(request.app[access.SERVICES].settings)
    return web.json_response({"database": database, "address": origin_of(request)})
