"""Who may use the console: sessions, links that work once, and protection against other sites' requests."""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from aiohttp import hdrs, web
from discord.ext import commands

from bot.console.rendering import fill
from bot.guards.error_handler import member_message
from bot.services import Services
from storage.database.enums import NOBODY, OPERATOR
from storage.operations.audit import AuditedAction
from storage.operations.console_sessions import SESSION_LASTS, end_session, find_session, redeem_link
from storage.runtime.requests import new_request_id, working_on

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

SERVICES: Final = web.AppKey("services", Services)
BOT: Final = web.AppKey("bot", commands.AutoShardedBot)
NAVIGATION: Final = web.AppKey("navigation", tuple)
"""(address, name) of each page; the first one is where people enter."""
HOSTS: Final = web.AppKey("hosts", frozenset)
"""What a request may call this console: another name means that a page of another site reached it."""
CSRF_FIELD, CSRF_HEADER = "csrf", "X-CSRF-Token"
OPEN_PATHS = ("/enter", "/static/", "/alive")
SAFE_METHODS = frozenset({hdrs.METH_GET, hdrs.METH_HEAD})
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
SIGNED_OUT = "You are signed out. Run `reactune console` for a new link, or start the demo again."
LINK_USED = "That link was used before or is too old. Run `reactune console` for a new one, or start the demo again."
FOREIGN = "That request came from another page, so nothing was done. Reload this page, then try again."


@dataclass(frozen=True)
class Visitor:
    """Whoever uses the console."""

    user_id: int
    name: str
    csrf: str
    """What a form must bring back, so that no other site can send one."""
    servers: frozenset[int] | None = None
    """IDs of the servers whose members' words they may see; None: all, for the operator."""

    def may_see_server(self, server_id: int | None) -> bool:
        return self.servers is None or server_id in self.servers

    def action(self, what: str, subject: str, reason: str, personality_id: int) -> AuditedAction:
        """Return a line for the audit trail."""
        return AuditedAction(
            actor=self.name,
            actor_id=NOBODY if self.user_id == OPERATOR else self.user_id,
            action=f"console {what}",
            subject=subject,
            reason=reason,
            personality_id=personality_id,
        )


VISITOR: Final = web.RequestKey("visitor", Visitor)


def cookie_name(request: web.Request) -> str:
    """Return the name of the session's cookie: browsers share cookies between the ports of a machine."""
    return f"reactune_console_{request.url.port}"


@web.middleware
async def add_headers(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        response = await handler(request)
    except web.HTTPException as error:
        error.headers.update(HEADERS)
        raise
    response.headers.update(HEADERS)
    if not request.path.startswith("/static/"):
        response.headers.setdefault(hdrs.CACHE_CONTROL, "no-store")
    return response


@web.middleware
async def explain_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn an error into a sentence, or a reference that the log explains."""
    with working_on(new_request_id()):
        try:
            return await handler(request)
        except (web.HTTPNotFound, web.HTTPMethodNotAllowed) as error:
            return refuse(request, "There is no such page.", status=error.status)
        except web.HTTPException:
            raise
        except Exception as error:
            return refuse(request, member_message(error), status=409)


@web.middleware
async def require_visitor(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Let only visitors in, and only forms of this console."""
    if request.host not in request.app[HOSTS]:
        return refuse(request, "That is not this console's address.", status=421)
    if request.path.startswith(OPEN_PATHS):
        return await handler(request)
    secret = request.cookies.get(cookie_name(request), "")
    found = await request.app[SERVICES].database.read(find_session, secret) if secret else None
    if found is None:
        return refuse(request, SIGNED_OUT, status=401)
    visitor = Visitor(found.user_id, found.name, hmac.digest(secret.encode(), b"csrf", "sha256").hex())
    if request.method not in SAFE_METHODS and not await _is_own_form(request, visitor):
        return refuse(request, FOREIGN, status=403)
    request[VISITOR] = visitor
    return await handler(request)


async def _is_own_form(request: web.Request, visitor: Visitor) -> bool:
    origin = request.headers.get(hdrs.ORIGIN)
    if origin is not None and origin.partition("://")[2] != request.host:
        return False
    given = request.headers.get(CSRF_HEADER) or (await request.post()).get(CSRF_FIELD, "")
    return isinstance(given, str) and hmac.compare_digest(given.encode(), visitor.csrf.encode())


async def enter(request: web.Request) -> web.StreamResponse:
    """Sign in whoever has a link, once; whoever is signed in already just gets in."""
    database = request.app[SERVICES].database
    if await database.read(find_session, request.cookies.get(cookie_name(request), "")) is not None:
        raise web.HTTPSeeOther(_first_page(request))
    secret = await database.run(redeem_link, request.query.get("key", ""))
    if secret is None:
        return refuse(request, LINK_USED, status=401)
    entered = web.HTTPSeeOther(_first_page(request))
    lasts = int(SESSION_LASTS.total_seconds())
    entered.set_cookie(cookie_name(request), secret, max_age=lasts, httponly=True, samesite="Lax")
    raise entered


def _first_page(request: web.Request) -> str:
    return str(request.app[NAVIGATION][0][0])


async def leave(request: web.Request) -> web.StreamResponse:
    """Sign the visitor out."""
    await request.app[SERVICES].database.run(end_session, request.cookies[cookie_name(request)])
    return fill("left.html", {})


def is_partial(request: web.Request) -> bool:
    """Return whether htmx asks for a part of a page."""
    return request.headers.get("HX-Request") == "true"


def refuse(request: web.Request, sentence: str, *, status: int) -> web.Response:
    """Say what is wrong: as a page, or in the page that htmx changes."""
    if is_partial(request):
        response = fill("problem.html", {"sentence": sentence})
        response.headers.update({"HX-Retarget": "#problem", "HX-Reswap": "innerHTML"})
        return response
    return fill("refused.html", {"sentence": sentence}, status=status)
