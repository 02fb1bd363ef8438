"""Signing in with Discord: admins of servers that the bot serves get in, and see what they may see there.

Discord says who they are by OAuth2 with an authorization code and PKCE (RFC 6749, RFC 7636;
https://docs.discord.com/developers/topics/oauth2; discord.com/.well-known/oauth-authorization-server names S256).
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import secrets
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import timedelta
from hashlib import sha256
from typing import Final
from urllib.parse import urlencode

import aiohttp
from aiohttp import web
from discord.ext import commands
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from bot.console.access import ADMINS, LIMITS, SERVICES, ConsoleRefusal
from bot.console.addresses import ADDRESSES, SESSION, caller_of, cookie_name, set_cookie
from bot.errors import UserFacingError
from bot.guards.access import user_label
from storage.database.enums import AuditOutcome
from storage.errors import SettingsError
from storage.operations.audit import AuditedAction, audited, record_action
from storage.operations.console_sessions import SESSION_LASTS, begin_session
from storage.settings.sections import CLIENT_SECRET_VARIABLE, Settings

CALLBACK = "/signin/callback"
"""The redirect that the operator enters in Discord's developer portal."""
STARTED = "signin"
"""Cookie of a visitor who is at Discord's page now."""
SIGN_IN_LASTS = timedelta(minutes=10)
ACTION = "console sign in"
STALE = "This browser did not start that sign-in, or took too long. Sign in again."
DECLINED = "You did not let Discord tell me who you are, so you are not signed in."
NO_ADMIN = (
    "You administer no server that I serve: it needs Manage Server, or a role that the operator listed in "
    "discord.admin_roles."
)
log = logging.getLogger(__name__)
DISCORD = "https://discord.com"
API = "/api/v10"
SCOPES = "identify guilds"
TIMEOUT = aiohttp.ClientTimeout(total=10.0)
REFUSED_CODE, REFUSED_CLIENT = 400, 401
SILENT = "Discord didn't tell me who you are, so you are not signed in. Try again in a minute."
TOO_OLD = "That sign-in took too long, or was used before. Sign in again."
WRONG_SECRET = "Discord doesn't accept this bot's client secret, so nobody can sign in. Please tell the operator."


class SignInFailed(UserFacingError):
    pass


@dataclass(frozen=True)
class Identified:
    """A person who signed in, as Discord describes them."""

    user_id: int
    name: str
    server_ids: tuple[int, ...]


class _Answer(BaseModel):
    model_config = ConfigDict(hide_input_in_errors=True)


class _Token(_Answer):
    access_token: str


class _User(_Answer):
    id: int
    username: str


class _Server(_Answer):
    id: int


_SERVERS = TypeAdapter(list[_Server])


@dataclass(frozen=True)
class DiscordOAuth:
    client_id: int
    client_secret: str = field(repr=False)
    redirect_uri: str
    user_agent: str

    def authorize_address(self, state: str, verifier: str) -> str:
        """Return the address to ask Discord for a code; `verifier` has 43 characters or more, and stays here."""
        challenge = urlsafe_b64encode(sha256(verifier.encode()).digest()).decode().rstrip("=")
        query = {
            "response_type": "code",
            "client_id": self.client_id,
            "scope": SCOPES,
            "redirect_uri": self.redirect_uri,
            "state": state,
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        }
        return f"{DISCORD}/oauth2/authorize?{urlencode(query)}"

    async def identify(self, code: str, verifier: str) -> Identified:
        """Return the owner of the code. Its token is used for this and given back. Raises SignInFailed."""
        connector = aiohttp.TCPConnector(force_close=True)
        headers = {"User-Agent": self.user_agent}
        try:
            async with aiohttp.ClientSession(connector=connector, timeout=TIMEOUT, headers=headers) as http:
                token = await self._exchange(http, code, verifier)
                try:
                    user = _User.model_validate_json(await _read(http, "/users/@me", token))
                    servers = _SERVERS.validate_json(await _read(http, "/users/@me/guilds", token))
                finally:
                    await self._give_back(http, token)
        except (aiohttp.ClientError, TimeoutError, ValidationError) as error:
            log.warning("Discord did not say who signs in to the console: %s", str(error) or type(error).__name__)
            raise SignInFailed(SILENT) from error
        return Identified(user.id, user.username, tuple(server.id for server in servers))

    async def _exchange(self, http: aiohttp.ClientSession, code: str, verifier: str) -> str:
        """Return a token for the code; raises SignInFailed if Discord does not accept the code, or this bot."""
        fields = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self.redirect_uri,
            "code_verifier": verifier,
        }
        async with self._post(http, "/oauth2/token", fields) as response:
            if response.status == REFUSED_CODE:
                raise SignInFailed(TOO_OLD)
            if response.status == REFUSED_CLIENT:
                log.error(
                    "Discord does not accept %s, so nobody can sign in to the console: copy it again (Discord "
                    "developer portal, your application, OAuth2) into .env, and restart.",
                    CLIENT_SECRET_VARIABLE,
                )
                raise SignInFailed(WRONG_SECRET)
            response.raise_for_status()
            return _Token.model_validate_json(await response.read()).access_token

    async def _give_back(self, http: aiohttp.ClientSession, token: str) -> None:
        try:
            async with self._post(http, "/oauth2/token/revoke", {"token": token}) as response:
                response.raise_for_status()
        except (aiohttp.ClientError, TimeoutError) as error:
            log.info("A token of somebody who signed in was not revoked, and ends by itself: %s", error)

    def _post(
        self, http: aiohttp.ClientSession, path: str, fields: Mapping[str, str]
    ) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        this_bot = {"client_id": str(self.client_id), "client_secret": self.client_secret}
        return http.post(f"{DISCORD}{API}{path}", data={**fields, **this_bot}, allow_redirects=False)


async def _read(http: aiohttp.ClientSession, path: str, token: str) -> bytes:
    headers = {"Authorization": f"Bearer {token}"}
    async with http.get(f"{DISCORD}{API}{path}", headers=headers, allow_redirects=False) as response:
        response.raise_for_status()
        return await response.read()


OAUTH: Final = web.AppKey("oauth", DiscordOAuth)


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
    """Let the application identify people through Discord, if the operator allows it; the bot is logged in."""
    secret = settings.discord_client_secret
    if secret is not None and bot.application_id is not None:
        redirect = settings.console.public_url + CALLBACK
        app[OAUTH] = DiscordOAuth(bot.application_id, secret.get_secret_value(), redirect, bot.http.user_agent)


async def begin_sign_in(request: web.Request) -> web.StreamResponse:
    """Redirect to Discord, which asks the visitor for permission to identify them."""
    oauth = _oauth(request)
    addresses = request.app[ADDRESSES]
    if not addresses.is_public(request):
        raise web.HTTPSeeOther(f"{addresses.public}/signin")
    verifier = secrets.token_urlsafe(48)
    to_discord = web.HTTPSeeOther(oauth.authorize_address(_state_of(verifier), verifier))
    set_cookie(to_discord, request, STARTED, verifier, SIGN_IN_LASTS)
    raise to_discord


async def finish_sign_in(request: web.Request) -> web.StreamResponse:
    """Sign in a visitor who comes back from Discord, if they administer a server that the bot serves."""
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
    """Return the state that Discord brings back: it needs the cookie to make, and does not reveal the cookie."""
    return hashlib.sha256(b"state " + _bytes(verifier)).hexdigest()


def _bytes(text: str) -> bytes:
    return text.encode(errors="backslashreplace")  # a header may hold what is no text


def _oauth(request: web.Request) -> DiscordOAuth:
    if OAUTH not in request.app:
        raise web.HTTPNotFound
    return request.app[OAUTH]


ROUTES = [
    web.get("/signin", begin_sign_in),
    web.get(CALLBACK, finish_sign_in),
]
