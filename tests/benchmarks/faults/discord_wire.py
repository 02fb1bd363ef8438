"""Discord over the wire: simcord's world behind real HTTP and a real gateway on loopback, so that it outlives a bot.

The bot on the other side is another process with discord.py as it is: its HTTP client, its rate limits, its websocket,
its resumes. What simcord knows of Discord (messages, reactions, permissions) stays simcord's; this module adds the
wire, and the trouble that the wire brings.
"""

from __future__ import annotations

import asyncio
import copy
import json
import random
import secrets
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from io import BytesIO
from types import SimpleNamespace
from typing import Any

import discord
from aiohttp import WSCloseCode, WSMsgType, web
from simcord import intents as simcord_intents
from simcord._clock import Clock
from simcord.backend import Backend, serializers
from simcord.backend.errors import BackendError
from simcord.http import router
from simcord.http import routes as _routes  # noqa: F401  (registers simcord's routes)

API = "/api/v10"
HEARTBEAT_MS = 41_250
EVENTS_KEPT = 5_000
"""Of a session that may be resumed."""
NONCES_KEPT = 5_000
RESUMABLE = 4_000
"""A close code after which a client resumes."""
DISPATCH, HEARTBEAT, IDENTIFY, RESUME, RECONNECT, REQUEST_MEMBERS, INVALID, HELLO, ACK = 0, 1, 2, 6, 7, 8, 9, 10, 11


@dataclass(frozen=True)
class Trouble:
    """What happens to one request: Discord answers with `status`, or nothing at all (0: the connection breaks)."""

    status: int
    retry_after_s: float = 0.0
    is_done: bool = False
    """The request was carried out and only its answer is lost."""
    delay_s: float = 0.0


Weather = Callable[[str, str], Trouble | None]
"""Says what happens to a request with this method and path."""


class RealClock(Clock):
    """The machine's time, minus `past`."""

    def __init__(self) -> None:
        super().__init__()
        self.past = timedelta()

    def now(self) -> datetime:
        return datetime.now(UTC) - self.past


@dataclass
class Session:
    """One login of a bot; it may be resumed while it is remembered."""

    id: str
    intents: discord.Intents
    sequence: int = 0
    events: deque[tuple[int, str]] = field(default_factory=lambda: deque(maxlen=EVENTS_KEPT))
    socket: web.WebSocketResponse | None = None
    outbox: asyncio.Queue[str] = field(default_factory=asyncio.Queue)

    def push(self, event: str, payload: Mapping[str, Any]) -> None:
        self.sequence += 1
        text = json.dumps({"op": DISPATCH, "t": event, "s": self.sequence, "d": payload})
        self.events.append((self.sequence, text))
        if self.socket is not None:
            self.outbox.put_nowait(text)


class WireDiscord:
    """Serves one bot; members act through `backend`, which tells the bot's sessions."""

    def __init__(self) -> None:
        self.clock = RealClock()
        self.backend = Backend(clock=self.clock)
        self.backend.subscribers.append(self._feed)
        self.weather: Weather | None = None
        self.is_silent = False
        """If True, it refuses new connections to the gateway."""
        self.seen: Counter[str] = Counter()
        """Requests by status, logins and resumes."""
        self.port = 0
        self._sessions: dict[str, Session] = {}
        self._nonces: dict[str, int] = {}

    @property
    def environment(self) -> dict[str, str]:
        """What the bot's process needs to find this Discord."""
        return {"FAULTS_DISCORD_PORT": str(self.port), "DISCORD_TOKEN": f"faults-{self.port}-{id(self)}"}

    @property
    def bot_id(self) -> int:
        return self.backend.bot_user.id

    @property
    def is_connected(self) -> bool:
        return any(session.socket is not None for session in self._sessions.values())

    # The gateway's troubles

    async def drop(self, *, forget: bool, politely: bool = False) -> int:
        """Break the gateway's connections, and return how many; a session that is forgotten cannot be resumed."""
        broken = 0
        sessions = list(self._sessions.values())
        if forget:
            self._sessions.clear()
        for session in sessions:
            socket, session.socket = session.socket, None
            if socket is None:
                continue
            broken += 1
            with suppress(ConnectionError):
                if politely:
                    await socket.send_str(json.dumps({"op": RECONNECT, "d": None}))
                elif random.random() < 0.5:
                    await socket.close(code=RESUMABLE)
                elif socket._req is not None and socket._req.transport is not None:
                    socket._req.transport.abort()
        return broken

    # Serving

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        app = web.Application(client_max_size=64 * 2**20)
        app.router.add_get("/gateway", self._gateway)
        app.router.add_route("*", API + "/{path:.*}", self._rest)
        runner = web.AppRunner(app, shutdown_timeout=0.5)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", self.port)
        await site.start()
        assert site._server is not None
        self.port = site._server.sockets[0].getsockname()[1]  # type: ignore[union-attr]
        try:
            yield
        finally:
            await self.drop(forget=True)
            await runner.cleanup()

    async def _rest(self, request: web.Request) -> web.StreamResponse:
        path, method = "/" + request.match_info["path"], request.method
        trouble = self.weather(method, path) if self.weather else None
        if trouble is None:
            return await self._carry_out(request, method, path)
        self.seen[str(trouble.status or "broken connections")] += 1
        await asyncio.sleep(trouble.delay_s)
        if trouble.is_done:
            await self._carry_out(request, method, path)
        if trouble.status == 0:
            if request.transport is not None:
                request.transport.abort()
            return web.Response()
        if trouble.status == 429:
            limit = {"message": "You are being rate limited.", "retry_after": trouble.retry_after_s, "global": False}
            return _json(limit, status=429, headers={"Via": "1.1 faults"})
        return _json({"message": "trouble", "code": 0}, status=trouble.status)

    async def _carry_out(self, request: web.Request, method: str, path: str) -> web.Response:
        body, files = await _read_body(request)
        nonce = str(body["nonce"]) if isinstance(body, dict) and body.get("enforce_nonce") else None
        try:
            if nonce in self._nonces:  # as Discord does: the same nonce is the same message
                channel_id = int(path.split("/")[2])
                path, method, body = f"/channels/{channel_id}/messages/{self._nonces[nonce]}", "GET", None
                self.seen["repeated sends"] += 1
            result = router.dispatch(self.backend, method, path, json=body, params=dict(request.query), files=files)
        except BackendError as error:
            self.seen[str(error.status)] += 1
            return _json(error.to_json(), status=error.status)
        finally:
            self.backend.http_requests.clear()
            self.backend.transcript.clear()
        self.seen["requests"] += 1
        if nonce is not None:
            self._nonces[nonce] = int(result["id"])
            while len(self._nonces) > NONCES_KEPT:
                del self._nonces[next(iter(self._nonces))]
        return web.Response(status=204) if result is None else _json(result)

    async def _gateway(self, request: web.Request) -> web.StreamResponse:
        if self.is_silent:
            return web.Response(status=503)
        socket = web.WebSocketResponse(max_msg_size=0)
        await socket.prepare(request)
        await socket.send_str(json.dumps({"op": HELLO, "d": {"heartbeat_interval": HEARTBEAT_MS}}))
        session: Session | None = None
        sending: asyncio.Task[None] | None = None
        try:
            async for message in socket:
                if message.type is not WSMsgType.TEXT:
                    break
                said = json.loads(message.data)
                if said["op"] == HEARTBEAT:
                    await socket.send_str(json.dumps({"op": ACK}))
                elif said["op"] in (IDENTIFY, RESUME):
                    session = self._log_in(said["d"]) if said["op"] == IDENTIFY else self._resume(said["d"])
                    if session is None:
                        await socket.send_str(json.dumps({"op": INVALID, "d": False}))
                    else:
                        sending = asyncio.create_task(_send_all(session, socket))
                elif said["op"] == REQUEST_MEMBERS and session is not None:
                    session.push("GUILD_MEMBERS_CHUNK", self._members(said["d"]))
        finally:
            if sending is not None:
                sending.cancel()
            if session is not None and session.socket is socket:
                session.socket = None
            with suppress(ConnectionError):
                await socket.close(code=WSCloseCode.GOING_AWAY)
        return socket

    def _log_in(self, said: dict[str, Any]) -> Session:
        self._sessions.clear()  # one bot: a new login ends what came before
        session = Session(secrets.token_hex(8), discord.Intents._from_value(said["intents"]))
        self._sessions[session.id] = session
        ready = {
            "v": 10,
            "user": dict(serializers.user_payload(self.backend.bot_user)),
            "guilds": [],
            "session_id": session.id,
            "resume_gateway_url": f"ws://127.0.0.1:{self.port}/gateway",
            "application": {"id": str(self.backend.application_id), "flags": 0},
            "shard": said.get("shard", [0, 1]),
        }
        session.push("READY", ready)
        for guild in self.backend.guilds.values():
            self._push(session, "GUILD_CREATE", serializers.guild_create_payload(self.backend, guild))
        for _, text in session.events:
            session.outbox.put_nowait(text)
        self.seen["logins"] += 1
        return session

    def _resume(self, said: dict[str, Any]) -> Session | None:
        session = self._sessions.get(said["session_id"])
        if session is None or (session.events and session.events[0][0] > said["seq"] + 1):
            return None
        session.outbox = asyncio.Queue()
        for sequence, text in session.events:
            if sequence > said["seq"]:
                session.outbox.put_nowait(text)
        session.sequence += 1
        resumed = {"op": DISPATCH, "t": "RESUMED", "s": session.sequence, "d": {}}
        session.outbox.put_nowait(json.dumps(resumed))
        self.seen["resumes"] += 1
        return session

    def _feed(self, event: str, payload: Mapping[str, Any]) -> None:
        for session in self._sessions.values():
            self._push(session, event, payload)

    def _push(self, session: Session, event: str, payload: Mapping[str, Any]) -> None:
        needed = simcord_intents.required_intent(event, payload)
        if needed is not None and not getattr(session.intents, needed):
            return
        told = copy.deepcopy(dict(payload))
        if event == "GUILD_CREATE":
            simcord_intents.prune_guild_create(told, session.intents, self.bot_id)
        session.push(event, told)

    def _members(self, asked: dict[str, Any]) -> dict[str, Any]:
        guild = self.backend.guilds[int(asked["guild_id"])]
        wanted = {int(user_id) for user_id in asked.get("user_ids") or ()}
        found = [member for member in guild.members.values() if member.user_id in wanted]
        return {
            "guild_id": str(guild.id),
            "members": [dict(serializers.member_payload(self.backend, guild, member)) for member in found],
            "chunk_index": 0,
            "chunk_count": 1,
            "not_found": [str(one) for one in wanted - {member.user_id for member in found}],
            "nonce": asked.get("nonce"),
        }


async def _send_all(session: Session, socket: web.WebSocketResponse) -> None:
    session.socket = socket
    with suppress(ConnectionError):
        while True:
            await socket.send_str(await session.outbox.get())


def _json(data: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    # Without a charset, as Discord answers: discord.py compares the whole header.
    told = {**(headers or {}), "Content-Type": "application/json"}
    return web.Response(body=json.dumps(data).encode(), status=status, headers=told)


async def _read_body(request: web.Request) -> tuple[Any, list[Any]]:
    """Return the JSON of a request, and its files as simcord takes them."""
    if not request.can_read_body:
        return None, []
    if not request.content_type.startswith("multipart/"):
        text = await request.text()
        return (json.loads(text) if text else None), []
    body, files = None, []
    for name, value in (await request.post()).items():
        if name == "payload_json":
            body = json.loads(value if isinstance(value, str) else value.file.read())
        elif isinstance(value, web.FileField):
            files.append(SimpleNamespace(fp=BytesIO(value.file.read()), filename=value.filename, description=None))
    return body, files
