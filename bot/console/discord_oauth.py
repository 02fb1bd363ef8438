"""Asks Discord who somebody is: OAuth2 with an authorization code and PKCE (RFC 6749, RFC 7636).

https://docs.discord.com/developers/topics/oauth2; discord.com/.well-known/oauth-authorization-server names S256.
"""

from __future__ import annotations

import logging
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from hashlib import sha256
from urllib.parse import urlencode

import aiohttp
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from bot.errors import UserFacingError
from storage.settings.sections import CLIENT_SECRET_VARIABLE

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
    """Somebody who signed in, as Discord describes them."""

    user_id: int
    name: str
    server_ids: tuple[int, ...]
    """All servers that they are in."""


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
        """Return where a browser asks Discord for a code; `verifier` has 43 characters or more, and stays here."""
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
        """Return whose code it is. The token that it gives is used for this and given back. Raises SignInFailed."""
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
