"""Signing in with Discord: admins of servers that the bot serves get in, and see what they may see there."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from datetime import timedelta
from typing import Final

from aiohttp import web
from discord.ext import commands

from bot.console.access import ADMINS, LIMITS, SERVICES, ConsoleRefusal
from bot.console.addresses import ADDRESSES, caller_of
from bot.console.cookies import SESSION, cookie_name, set_cookie
from bot.console.discord_oauth import DiscordOAuth, Identified
from bot.guards.access import user_label
from storage.database.enums import AuditOutcome
from storage.errors import SettingsError
from storage.operations.audit import AuditedAction, audited, record_action
from storage.operations.console_sessions import SESSION_LASTS, begin_session
from storage.settings.sections import CLIENT_SECRET_VARIABLE, Settings

OAUTH: Final = web.AppKey("oauth", DiscordOAuth)
CALLBACK = "/signin/callback"
"""The redirect that the operator enters in Discord's developer portal."""
STARTED = "signin"
"""The cookie of whoever is at Discord's page now."""
SIGN_IN_LASTS = timedelta(minutes=10)
ACTION = "console sign in"
STALE = "This browser did not start that sign-in, or took too long. Sign in again."
DECLINED = "You did not let Discord tell me who you are, so you are not signed in."
NO_ADMIN = (
    "You administer no server that I serve: it needs Manage Server, or a role that the operator listed in "
    "discord.admin_roles."
)


def require_whole_sign_in(settings: Settings) -> None:
    """Raise SettingsError if admins could sign in but for a missing setting."""
    console, secret = settings.console, settings.discord_client_secret
    if console.public_url and secret is None:
        raise SettingsError(
            f"console.public_url is set, but {CLIENT_SECRET_VARIABLE} is not: put the OAuth2 client secret into .env "
            '(Discord developer portal, your application, OAuth2), or set console.public_url = ""'
        )
    if secret is not None and not console.public_url:
        raise SettingsError(
            f"{CLIENT_SECRET_VARIABLE} is set, but console.public_url is not: set it to the console's https address "
            "(docs/console.md), or remove the secret"
        )
    if console.public_url and not console.port:
        raise SettingsError(
            "console.public_url is set, but console.port = 0 switches the console off: set the port, or "
            'console.public_url = ""'
        )


def prepare_sign_in(app: web.Application, bot: commands.AutoShardedBot, settings: Settings) -> None:
    """Let the application ask Discord who somebody is, if the operator allows it; the bot is logged in."""
    secret = settings.discord_client_secret
    if secret is not None and bot.application_id is not None:
        redirect = settings.console.public_url + CALLBACK
        app[OAUTH] = DiscordOAuth(bot.application_id, secret.get_secret_value(), redirect, bot.http.user_agent)


async def begin_sign_in(request: web.Request) -> web.StreamResponse:
    """Lead to Discord, which asks whether it may tell who somebody is."""
    oauth = _oauth(request)
    addresses = request.app[ADDRESSES]
    if not addresses.is_public(request):
        raise web.HTTPSeeOther(f"{addresses.public}/signin")
    verifier = secrets.token_urlsafe(48)
    to_discord = web.HTTPSeeOther(oauth.authorize_address(_state_of(verifier), verifier))
    set_cookie(to_discord, request, STARTED, verifier, SIGN_IN_LASTS)
    raise to_discord


async def finish_sign_in(request: web.Request) -> web.StreamResponse:
    """Sign in whoever comes back from Discord, if they administer a server that the bot serves."""
    oauth, verifier = _oauth(request), request.cookies.get(cookie_name(request, STARTED), "")
    if not verifier or not hmac.compare_digest(_state_of(verifier).encode(), _bytes(request.query.get("state", ""))):
        raise ConsoleRefusal(STALE, status=400)
    if "code" not in request.query:
        raise ConsoleRefusal(DECLINED, status=403)
    request.app[LIMITS].require_sign_in(caller_of(request))
    secret = await _begin(request, await oauth.identify(request.query["code"], verifier))
    entered = web.HTTPSeeOther("/")
    set_cookie(entered, request, SESSION, secret, SESSION_LASTS)
    set_cookie(entered, request, STARTED, "", timedelta())  # used up
    raise entered


async def _begin(request: web.Request, person: Identified) -> str:
    """Return the secret of a new session; raises ConsoleRefusal."""
    database = request.app[SERVICES].database
    members = await request.app[ADMINS].look_up(person.user_id, person.server_ids)
    name = user_label(members[0]) if members else f"{person.name} ({person.user_id})"
    action = AuditedAction(actor=name, actor_id=person.user_id, action=ACTION)
    if not members:
        if request.app[LIMITS].should_record_refusal(person.user_id):
            await database.run(record_action, action, AuditOutcome.REFUSED, NO_ADMIN)
        raise ConsoleRefusal(NO_ADMIN, status=403)
    servers = [member.guild.id for member in members]
    return await database.run(audited(action, begin_session), person.user_id, name, servers)


def _state_of(verifier: str) -> str:
    """Return what Discord brings back: nobody can make it without the cookie, and it does not tell the cookie."""
    return hashlib.sha256(b"state " + _bytes(verifier)).hexdigest()


def _bytes(text: str) -> bytes:
    return text.encode(errors="backslashreplace")  # a header may hold what is no text


def _oauth(request: web.Request) -> DiscordOAuth:
    if OAUTH not in request.app:
        raise web.HTTPNotFound
    return request.app[OAUTH]


ROUTES = [web.get("/signin", begin_sign_in), web.get(CALLBACK, finish_sign_in)]
