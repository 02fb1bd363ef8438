"""A small Discord that tells who somebody is, on loopback: its pages of OAuth2, and what people agreed to there."""

from __future__ import annotations

import secrets
from base64 import urlsafe_b64encode
from dataclasses import dataclass
from hashlib import sha256
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from aiohttp import web

CLIENT_SECRET = "a-client-secret"


@dataclass
class Asked:
    """What an application asked for somebody's agreement to."""

    person: Any
    client_id: str
    redirect_uri: str
    challenge: str


class DiscordServer:
    def __init__(self) -> None:
        self.address = ""
        self.servers: dict[int, list[int]] = {}
        """{user: their servers}"""
        self.answers: dict[str, tuple[int, str]] = {}
        """What to answer instead of the truth, by path: status and body."""
        self.tokens: dict[str, Any] = {}
        self.requests: list[str] = []
        self._codes: dict[str, Asked] = {}
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        app = web.Application(middlewares=[self._answer_instead])
        app.add_routes(
            [
                web.post("/api/v10/oauth2/token", self._exchange),
                web.post("/api/v10/oauth2/token/revoke", self._revoke),
                web.get("/api/v10/users/@me", self._show_user),
                web.get("/api/v10/users/@me/guilds", self._list_servers),
            ]
        )
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        host, port = self._runner.addresses[0][:2]
        self.address = f"http://{host}:{port}"

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    def agree(self, address: str, person: Any) -> str:
        """Agree on Discord's page, as the person; return where the browser is sent, without the host."""
        asked = {name: values[0] for name, values in parse_qs(urlsplit(address).query).items()}
        assert address.startswith(f"{self.address}/oauth2/authorize?")
        assert (asked["response_type"], asked["scope"]) == ("code", "identify guilds")
        assert asked["code_challenge_method"] == "S256"
        code = secrets.token_hex(8)
        self._codes[code] = Asked(person, asked["client_id"], asked["redirect_uri"], asked["code_challenge"])
        return f"{urlsplit(asked['redirect_uri']).path}?{urlencode({'code': code, 'state': asked['state']})}"

    @web.middleware
    async def _answer_instead(self, request: web.Request, handler: Any) -> web.StreamResponse:
        path = request.path.removeprefix("/api/v10")
        self.requests.append(path)
        if path in self.answers:
            status, body = self.answers[path]
            return web.Response(status=status, text=body, content_type="application/json")
        return await handler(request)

    async def _exchange(self, request: web.Request) -> web.Response:
        form = await request.post()
        asked = self._codes.pop(str(form["code"]), None)
        if asked is None:
            return web.json_response({"error": "invalid_grant"}, status=400)
        if (form["client_id"], form["client_secret"]) != (asked.client_id, CLIENT_SECRET):
            return web.json_response({"error": "invalid_client"}, status=401)
        challenge = urlsafe_b64encode(sha256(str(form["code_verifier"]).encode()).digest()).decode().rstrip("=")
        if (form["grant_type"], form["redirect_uri"], challenge) != (
            "authorization_code",
            asked.redirect_uri,
            asked.challenge,
        ):
            return web.json_response({"error": "invalid_grant"}, status=400)
        token = secrets.token_hex(8)
        self.tokens[token] = asked.person
        return web.json_response({"access_token": token, "token_type": "Bearer", "scope": "identify guilds"})

    async def _revoke(self, request: web.Request) -> web.Response:
        del self.tokens[str((await request.post())["token"])]
        return web.json_response({})

    async def _show_user(self, request: web.Request) -> web.Response:
        person = self._whose(request)
        return web.json_response({"id": str(person.id), "username": person.name})

    async def _list_servers(self, request: web.Request) -> web.Response:
        ids = self.servers[self._whose(request).id]
        # What Discord says of permissions here is not believed.
        return web.json_response([{"id": str(id_), "name": "x", "owner": True, "permissions": "8"} for id_ in ids])

    def _whose(self, request: web.Request) -> Any:
        return self.tokens[request.headers["Authorization"].removeprefix("Bearer ")]
