"""Access to the console: sessions, links that work once, and protection against other sites' requests."""

from __future__ import annotations

import hmac
import logging
import math
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import discord
from aiohttp import hdrs, web
from discord.ext import commands

from bot.console.addresses import ADDRESSES, SESSION, cookie_name, origin_of, set_cookie
from bot.console.admins import AdminLookup, RightsUnknown
from bot.console.limits import ConsoleLimits
from bot.console.rendering import fill
from bot.errors import UserFacingError
from bot.guards.error_handler import is_expected, member_message
from bot.guards.permissions import visible_channels
from bot.guards.rate_limit import RateLimited
from bot.services import Services
from storage.database.enums import NOBODY, OPERATOR
from storage.insights.answers import Channels
from storage.operations.audit import AuditedAction, audited
from storage.operations.console_sessions import (
    SESSION_LASTS,
    ConsoleSession,
    end_session,
    end_sessions_of,
    find_link,
    find_session,
    redeem_link,
)
from storage.personalities.personalities import Personality
from storage.runtime.requests import new_request_id, working_on

if TYPE_CHECKING:
    from multidict import MultiMapping

log = logging.getLogger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

SERVICES: Final = web.AppKey("services", Services)
BOT: Final = web.AppKey("bot", commands.AutoShardedBot)
START: Final = web.AppKey("start", str)
"""Address of the page where people enter."""
ADMINS: Final = web.AppKey("admins", AdminLookup)
LIMITS: Final = web.AppKey("limits", ConsoleLimits)
CSRF_FIELD, CSRF_HEADER = "csrf", "X-CSRF-Token"
OPEN_PATHS = ("/enter", "/signin", "/static/", "/alive")
FETCH_SITE = "Sec-Fetch-Site"
SAFE_METHODS = frozenset({hdrs.METH_GET, hdrs.METH_HEAD})
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
        "connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
SAID_TO_ANYBODY = frozenset({400, 404, 405, 413, 415})
"""Statuses whose page does not ask to sign in: the visitor is not known yet, or does not matter."""
SIGNED_OUT = "Sign in to use the console."
SESSION_ENDED = "Your session has ended."
LOST_RIGHTS = "You no longer administer a server that I serve, so you are signed out."
LINK_USED = "That link was used before or is too old."
SIGNED_IN_AGAIN = (
    "You signed in again since this page was opened, so nothing was done. Copy what you wrote, then reload this page."
)
FOREIGN = "That request came from another page, so nothing was done. Reload this page, then try again."


@dataclass(frozen=True)
class Visitor:
    """A user of the console."""

    user_id: int
    name: str
    csrf: str
    """Token that a form must bring back, so that no other site can send one."""
    servers: frozenset[int] | None = None
    """IDs of the servers whose members' words they may see; None: all, for the operator."""
    members: tuple[discord.Member, ...] = ()
    """The visitor's memberships in these servers."""

    @property
    def session_key(self) -> str:
        """Key of questions that replace each other: one for a Discord visitor, one in each browser for the operator.

        Several people may share the operator's account.
        """
        return self.csrf if self.servers is None else str(self.user_id)

    @cached_property
    def channels(self) -> Channels | None:
        """Channels whose answers the visitor may see, by server; None: all, for the operator."""
        return None if self.servers is None else {one.guild.id: visible_channels(one) for one in self.members}

    def member_in(self, server_id: int | None) -> discord.Member | None:
        """Return the visitor's membership in one of their servers; None elsewhere, and for the operator."""
        return next((one for one in self.members if one.guild.id == server_id), None)

    def may_see_server(self, server_id: int | None) -> bool:
        return self.servers is None or server_id in self.servers

    def may_see_channel(self, server_id: int, channel_id: int) -> bool:
        return self.channels is None or channel_id in self.channels.get(server_id, ())

    def may_use(self, personality: Personality) -> bool:
        """Return whether the personality is the operator's, or belongs to one of the visitor's servers."""
        return personality.guild_id is None or self.may_see_server(personality.guild_id)

    def action(
        self,
        what: str,
        subject: str = "",
        reason: str = "",
        *,
        personality_id: int | None = None,
        guild_id: int | None = None,
    ) -> AuditedAction:
        """Return a line for the audit trail."""
        return AuditedAction(
            actor=self.name,
            actor_id=NOBODY if self.user_id == OPERATOR else self.user_id,
            action=f"console {what}",
            subject=subject,
            reason=reason,
            personality_id=personality_id,
            guild_id=guild_id,
        )


VISITOR: Final = web.RequestKey("visitor", Visitor)
SIGNED_IN: Final = web.RequestKey("signed in", ConsoleSession)
"""The session, before the visitor's rights are known."""


class ConsoleRefusal(UserFacingError):
    """A sentence for a page of its own."""

    def __init__(self, sentence: str, status: int) -> None:
        super().__init__(sentence)
        self.status = status


async def add_headers(request: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(HEADERS)
    response.headers.pop(hdrs.SERVER, None)  # the versions of Python and aiohttp
    # Without a word, browsers keep the script of an older version for days.
    response.headers.setdefault(hdrs.CACHE_CONTROL, "no-cache" if request.path.startswith("/static/") else "no-store")


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
        except ConsoleRefusal as error:
            return refuse(request, str(error), status=error.status)
        except (ConnectionError, web.RequestPayloadError) as error:
            log.debug("A request was given up by whoever sent it: %r", error)
            return web.Response(status=400)
        except RateLimited as error:
            response = refuse(request, member_message(error), status=429)
            response.headers[hdrs.RETRY_AFTER] = str(math.ceil(error.wait_s))
            return response
        except Exception as error:
            return refuse(request, member_message(error), status=409 if is_expected(error) else 500)


@web.middleware
async def require_visitor(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Let only visitors in, and only forms of this console."""
    if not origin_of(request):
        raise ConsoleRefusal("The console is not served under this address.", status=421)
    if request.path.startswith(OPEN_PATHS):
        return await handler(request)
    request[SIGNED_IN] = session = await _find_session(request)
    async with _within_limits(request, session):
        request[VISITOR] = visitor = await _find_visitor(request, session)
        if request.method not in SAFE_METHODS and not await _is_own_form(request, visitor):
            is_old = _is_from_here(request) and hdrs.ORIGIN in request.headers
            raise ConsoleRefusal(SIGNED_IN_AGAIN if is_old else FOREIGN, status=403)
        response = await handler(request)
        if visitor.servers is not None:
            with suppress(ConnectionError):  # they did not wait for it
                # Here, because what nobody takes fills the memory until then.
                await response.prepare(request)
                await response.write_eof()
        return response


async def _find_session(request: web.Request) -> ConsoleSession:
    """Return the request's session; raises ConsoleRefusal."""
    secret, addresses = _secret_of(request), request.app[ADDRESSES]
    found = await request.app[SERVICES].database.read(find_session, secret) if secret else None
    if found is None:
        raise ConsoleRefusal(SESSION_ENDED if secret else SIGNED_OUT, status=401)
    is_here = addresses.is_local(request) if found.servers is None else addresses.is_public(request)
    if not is_here:
        raise ConsoleRefusal(SIGNED_OUT, status=401)
    return found


def _secret_of(request: web.Request) -> str:
    return request.cookies.get(cookie_name(request, SESSION), "")


@asynccontextmanager
async def _within_limits(request: web.Request, session: ConsoleSession) -> AsyncIterator[None]:
    """Count a request of an admin, before it costs anything, and let few of them be answered at once."""
    if session.servers is None:
        yield
        return
    limits = request.app[LIMITS]
    limits.require_request(session.user_id, writes=request.method not in SAFE_METHODS)
    async with limits.in_turn(session.user_id):
        yield


async def _find_visitor(request: web.Request, session: ConsoleSession) -> Visitor:
    """Return the visitor with their present rights; raises ConsoleRefusal."""
    csrf = hmac.digest(_secret_of(request).encode(), b"csrf", "sha256").hex()
    visitor = Visitor(session.user_id, session.name, csrf)
    if session.servers is None:
        return visitor
    members = await _memberships(request, visitor, session.servers)
    return replace(visitor, servers=frozenset(one.guild.id for one in members), members=members)


async def _memberships(request: web.Request, visitor: Visitor, server_ids: list[int]) -> tuple[discord.Member, ...]:
    """Return the visitor's memberships in servers that they still administer; without one, end the session."""
    try:
        members = await request.app[ADMINS].memberships(visitor.user_id, server_ids)
    except RightsUnknown as error:
        raise ConsoleRefusal(str(error), status=503) from error
    if not members:
        await _end_session(request, visitor.action("sign out", reason="no longer an admin"))
        raise ConsoleRefusal(LOST_RIGHTS, status=403)
    return members


async def _end_session(request: web.Request, action: AuditedAction) -> None:
    await request.app[SERVICES].database.run(audited(action, end_session), _secret_of(request))
    del request[SIGNED_IN]


async def _is_own_form(request: web.Request, visitor: Visitor) -> bool:
    if not _is_from_here(request):
        return False
    given = request.headers.get(CSRF_HEADER) or (await read_post(request)).get(CSRF_FIELD, "")
    return isinstance(given, str) and hmac.compare_digest(given.encode(errors="replace"), visitor.csrf.encode())


def _is_from_here(request: web.Request) -> bool:
    """Return whether the browser says that a page of this console, or none at all, sent the form."""
    origin, site = request.headers.get(hdrs.ORIGIN), request.headers.get(FETCH_SITE)
    return origin in (None, origin_of(request)) and site in (None, "none", "same-origin")


async def read_post(request: web.Request) -> MultiMapping[Any]:
    """Return a form's data; raises ConsoleRefusal if it isn't text."""
    try:
        return await request.post()
    except (UnicodeDecodeError, LookupError) as error:
        raise ConsoleRefusal(
            "The form could not be read as text. Reload the page and try again.", status=400
        ) from error


async def show_link(request: web.Request) -> web.StreamResponse:
    """Show the button that a link leads to: programs that look at addresses must not use it up.

    Whoever is signed in already just gets in, unless the link is somebody else's. Only on the bot's machine.
    """
    if not request.app[ADDRESSES].is_local(request):
        raise web.HTTPNotFound
    read, key = request.app[SERVICES].database.read, request.query.get("key", "")
    present, link = await read(find_session, _secret_of(request)), await read(find_link, key)
    if present is not None and (link is None or link.user_id == present.user_id):
        raise web.HTTPSeeOther(request.app[START])
    return fill("enter.html", {"key": key, "present": present, "link": link, "whose": _whose})


def _whose(session: ConsoleSession) -> str:
    return "the operator" if session.user_id == OPERATOR else f"the member {session.user_id}"


async def enter(request: web.Request) -> web.StreamResponse:
    """Sign in the visitor who opened a link, once."""
    if not request.app[ADDRESSES].is_local(request):
        raise web.HTTPNotFound
    if not _is_from_here(request):
        raise ConsoleRefusal(FOREIGN, status=403)
    database, key = request.app[SERVICES].database, str((await read_post(request)).get("key", ""))
    # Compared before it is counted: whoever guesses must not lock out who has a link.
    secret = await database.run(redeem_link, key) if await database.read(find_link, key) else None
    if secret is None:
        request.app[LIMITS].require_link()
        raise ConsoleRefusal(LINK_USED, status=401)
    entered = web.HTTPSeeOther(request.app[START])
    set_cookie(entered, request, SESSION, secret, SESSION_LASTS)
    raise entered


async def leave(request: web.Request) -> web.StreamResponse:
    """Sign the visitor out."""
    await _end_session(request, request[VISITOR].action("sign out"))
    return fill("left.html", _ways_in(request))


async def leave_everywhere(request: web.Request) -> web.StreamResponse:
    """Sign the visitor out in all browsers."""
    visitor = request[VISITOR]
    work = audited(visitor.action("sign out", "everywhere"), end_sessions_of)
    await request.app[SERVICES].database.run(work, visitor.user_id)
    return fill("left.html", _ways_in(request))


def is_partial(request: web.Request) -> bool:
    """Return whether htmx asks for a part of a page."""
    return request.headers.get("HX-Request") == "true"


def refuse(request: web.Request, sentence: str, *, status: int) -> web.Response:
    """Show the error: as a page, or in the page that htmx changes."""
    is_inside = SIGNED_IN in request or status in SAID_TO_ANYBODY
    facts = {"sentence": sentence, "is_inside": is_inside} | _ways_in(request)
    if is_partial(request):
        response = fill("problem.html", facts)
        response.headers.update({"HX-Retarget": "#problem", "HX-Reswap": "innerHTML"})
        return response
    return fill("refused.html", facts, status=status)


def _ways_in(request: web.Request) -> dict[str, object]:
    """Return the ways to sign in: with Discord if the operator allows it, or with a link."""
    addresses = request.app[ADDRESSES]
    return {
        "sign_in": f"{addresses.public}/signin" if addresses.public else "",
        "is_local": addresses.is_local(request),
    }


ROUTES = [
    web.get("/enter", show_link),
    web.post("/enter", enter),
    web.post("/leave", leave),
    web.post("/leave/everywhere", leave_everywhere),
]
