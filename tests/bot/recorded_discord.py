"""Discord on loopback, in the payloads of its documentation: one server, one channel, a gateway that loses sessions.

simcord parses nothing over a wire, and its sessions never break. The payloads follow
https://docs.discord.com/developers/events/gateway (hello, ready, resume, invalid session, reconnect),
https://docs.discord.com/developers/events/gateway-events and https://docs.discord.com/developers/resources/message.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import discord
from aiohttp import WSMsgType, web
from aiohttp.test_utils import TestServer

from bot.chat.ask import SEEDS
from bot.discord_errors import SLOW_MODE
from tests.reactune.doctor.test_discord_side import BOT, application, as_json

DISPATCH, HEARTBEAT, IDENTIFY, RESUME, RECONNECT, REQUEST_MEMBERS = 0, 1, 2, 6, 7, 8
INVALID_SESSION, HELLO, HEARTBEAT_ACK = 9, 10, 11
GUILD, CHANNEL, BOT_ID, ADA, BO = 41771983423143937, 41771983423143938, int(BOT["id"] or 0), 80351110224678912, 53908232
DIRECT = CHANNEL + 1
"""The channel of ada's direct messages."""
HANG_S = 60.0
SLOWED_DOWN = {
    "message": "This action cannot be performed due to slowmode rate limit.",
    "code": SLOW_MODE,
    "retry_after": 21_600.0,
    "global": False,
}
"""The body of a 429: a message that comes too soon in a channel with `rate_limit_per_user`."""
UNKNOWN_MESSAGE = {"message": "Unknown Message", "code": 10008}
ACKNOWLEDGED = {"message": "Interaction has already been acknowledged.", "code": 40060}
BAD_GATEWAY = {"message": "502: Bad Gateway", "code": 0}
COMMAND = 2


async def until(is_so: Callable[[], object]) -> None:
    """Wait until it is so; a bot that never gets there has failed."""
    async with asyncio.timeout(HANG_S):
        while not is_so():  # noqa: ASYNC110  (the bot's state has no event)
            await asyncio.sleep(0.02)


@dataclass(frozen=True)
class Mishap:
    """What the sender of a request hears in place of Discord's answer to it."""

    method: str
    path: str
    """Part of the request's path."""
    status: int | None = 502
    """None if the connection breaks."""
    body: dict[str, Any] = field(default_factory=lambda: BAD_GATEWAY)
    is_taken: bool = True
    """Discord does what it is asked."""

    def concerns(self, request: web.Request) -> bool:
        return request.method == self.method and self.path in request.path

    def answer(self, request: web.Request) -> web.Response:
        if self.status is not None:
            response = as_json(self.body, status=self.status)
            response.headers["Via"] = "1.1 google"
            return response
        assert request.transport is not None
        request.transport.abort()
        return web.Response()


class RecordedDiscord:
    """Keeps what is on Discord, tells the bot's session about it, and replays to a resumed one what it missed."""

    def __init__(self, slow_mode_s: int = 0) -> None:
        self.slow_mode_s = slow_mode_s
        self.delays: list[float] = []
        """For each of the next messages, which come too soon, after how many seconds Discord would take it."""
        self.identifies: list[dict[str, Any]] = []
        self.resumes: list[dict[str, Any]] = []
        self.messages: dict[int, dict[str, Any]] = {}
        self.reactions: dict[int, dict[str, list[int]]] = {}
        """By message and emoji, who reacted."""
        self.refused = 0
        self.mishaps: list[Mishap] = []
        """Each happens once, to the next request that it concerns."""
        self.held = ""
        """Requests whose method and path begin with this get no answer."""
        self.asked: list[str] = []
        """Methods and paths."""
        self.responses: dict[str, list[dict[str, Any]]] = {}
        """What the bot answered to each interaction, by its token."""
        self.url = ""
        self._is_over = asyncio.Event()
        self._newest = discord.utils.time_snowflake(discord.utils.utcnow())
        self._session: str | None = None
        self._sequence = 0
        self._events: list[dict[str, Any]] = []
        """Of the session, as they were or would have been sent."""
        self._socket: web.WebSocketResponse | None = None

    # What people do

    async def say(self, user_id: int, content: str, *, channel: int = CHANNEL, minutes_ago: int = 0) -> int:
        earlier = minutes_ago * 60_000 << 22
        return await self._create(user_id, content, channel, id_=self._newest + 1 - earlier)

    async def react(self, user_id: int, message_id: int, emoji: str) -> None:
        self.reactions[message_id].setdefault(emoji, []).append(user_id)
        told = self._reaction(user_id, message_id, emoji) | {
            "message_author_id": self.messages[message_id]["author"]["id"]
        }
        await self._dispatch("MESSAGE_REACTION_ADD", told | {"member": member(user_id)})

    async def unreact(self, user_id: int, message_id: int, emoji: str) -> None:
        self.reactions[message_id][emoji].remove(user_id)
        await self._dispatch("MESSAGE_REACTION_REMOVE", self._reaction(user_id, message_id, emoji))

    async def delete(self, message_id: int) -> None:
        del self.messages[message_id], self.reactions[message_id]
        gone = {"id": str(message_id), "channel_id": str(CHANNEL), "guild_id": str(GUILD)}
        await self._dispatch("MESSAGE_DELETE", gone)

    async def command(self, user_id: int, name: str, subcommand: str, **given: str) -> str:
        """Let a member use a slash command with options; return the interaction's token."""
        self._newest += 1
        token = f"interaction-{self._newest}"
        self.responses[token] = []
        filled = [{"type": 3, "name": option, "value": value} for option, value in given.items()]
        options = [{"type": 1, "name": subcommand, "options": filled}]
        used = {
            "id": str(self._newest),
            "application_id": BOT["id"],
            "type": COMMAND,
            "data": {"id": "1", "name": name, "type": 1, "options": options},
            "guild_id": str(GUILD),
            "channel_id": str(CHANNEL),
            "channel": {"id": str(CHANNEL), "type": 0, "name": "general", "permissions": "0"},
            "member": member(user_id) | {"permissions": "0"},
            "token": token,
            "version": 1,
            "locale": "en-US",
            "app_permissions": "0",
            "entitlements": [],
            "authorizing_integration_owners": {"0": str(GUILD)},
            "context": 0,
            "attachment_size_limit": 10_485_760,
        }
        await self._dispatch("INTERACTION_CREATE", used)
        return token

    async def tell(self, event: str, payload: dict[str, Any]) -> None:
        """Tell the bot's session an event as it is."""
        await self._dispatch(event, payload)

    # The gateway's troubles

    async def close(self, code: int = 4000) -> None:
        """Close the connection with "unknown error, try reconnecting"."""
        socket, self._socket = self._socket, None
        assert socket is not None
        await socket.close(code=code)

    async def ask_to_reconnect(self) -> None:
        socket, self._socket = self._socket, None
        assert socket is not None
        await socket.send_json({"op": RECONNECT, "d": None})

    def forget_session(self) -> None:
        """Let the next resume fail: what happened since is told to nobody."""
        self._session = None

    # What is there

    def answers_to(self, message_id: int) -> list[int]:
        """Return the IDs of the bot's messages that reply to it."""
        return [
            id_
            for id_, one in self.messages.items()
            if one["author"]["id"] == BOT["id"]
            and one.get("message_reference", {}).get("message_id") == str(message_id)
        ]

    def is_answered(self, message_id: int) -> bool:
        """Return whether a whole answer replies to it, with the bot's reactions."""
        return any(self._is_seeded(id_) for id_ in self.answers_to(message_id))

    def _is_seeded(self, message_id: int) -> bool:
        return sum(BOT_ID in users for users in self.reactions[message_id].values()) == len(SEEDS)

    # Serving

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        @web.middleware
        async def with_mishaps(
            request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
        ) -> web.StreamResponse:
            return await self._with_mishaps(request, handler)

        app = web.Application(middlewares=[with_mishaps])
        app.add_routes(
            [
                web.get("/gateway", self._gateway),
                web.get("/gateway/bot", self._gateway_address),
                web.get("/users/@me", self._me),
                web.get("/oauth2/applications/@me", self._application),
                web.get("/channels/{channel}", self._channel),
                web.post("/channels/{channel}/messages", self._send),
                web.get("/channels/{channel}/messages", self._history),
                web.get("/channels/{channel}/messages/{id}", self._fetch),
                web.patch("/channels/{channel}/messages/{id}", self._edit),
                web.get("/channels/{channel}/messages/{id}/reactions/{emoji}", self._who_reacted),
                web.put("/channels/{channel}/messages/{id}/reactions/{emoji}/@me", self._add_reaction),
                web.post("/channels/{channel}/typing", self._nothing),
                web.get("/guilds/{guild}/members/{id}", self._member),
                web.post("/interactions/{id}/{token}/callback", self._acknowledge),
                web.post("/webhooks/{application}/{token}", self._follow_up),
            ]
        )
        async with TestServer(app) as server:
            self.url = str(server.make_url("")).rstrip("/")
            yield self.url
            self._is_over.set()

    async def _with_mishaps(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        self.asked.append(f"{request.method} {request.path_qs}")
        if self.held and self.asked[-1].startswith(self.held):
            await self._is_over.wait()
        mishap = next((one for one in self.mishaps if one.concerns(request)), None)
        if mishap is None:
            return await handler(request)
        self.mishaps.remove(mishap)
        if mishap.is_taken:
            await handler(request)
        return mishap.answer(request)

    @property
    def gateway_url(self) -> str:
        return self.url.replace("http", "ws", 1) + "/gateway"

    async def _gateway(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(max_msg_size=0)
        await socket.prepare(request)
        await socket.send_json({"op": HELLO, "d": {"heartbeat_interval": 45_000}})
        async for message in socket:
            if message.type is not WSMsgType.TEXT:
                break
            said = json.loads(message.data)
            if said["op"] == IDENTIFY:
                await self._identify(socket, said["d"])
            elif said["op"] == RESUME:
                await self._resume(socket, said["d"])
            elif said["op"] == REQUEST_MEMBERS:
                await self._dispatch("GUILD_MEMBERS_CHUNK", members_chunk(said["d"]))
            elif said["op"] == HEARTBEAT:
                await socket.send_json({"op": HEARTBEAT_ACK})
        if self._socket is socket:
            self._socket = None
        return socket

    async def _identify(self, socket: web.WebSocketResponse, said: dict[str, Any]) -> None:
        self.identifies.append(said)
        self._session, self._sequence, self._events = f"session-{len(self.identifies)}", 0, []
        self._socket = socket
        ready = {
            "v": 10,
            "user": BOT | {"bot": True, "verified": True, "mfa_enabled": True, "email": None, "flags": 0},
            "guilds": [{"id": str(GUILD), "unavailable": True}],
            "session_id": self._session,
            "resume_gateway_url": self.gateway_url,
            "shard": [0, 1],
            "application": {"id": BOT["id"], "flags": 565248},
        }
        await self._dispatch("READY", ready)
        await self._dispatch("GUILD_CREATE", guild(self.slow_mode_s, max(self.messages, default=None)))

    async def _resume(self, socket: web.WebSocketResponse, said: dict[str, Any]) -> None:
        self.resumes.append(said)
        if said["session_id"] != self._session:
            await socket.send_json({"op": INVALID_SESSION, "d": False})
            return
        for event in [one for one in self._events if one["s"] > said["seq"]]:
            await socket.send_json(event)
        self._socket = socket
        await self._dispatch("RESUMED", {"_trace": ["gateway-prd-1"]})

    async def _dispatch(self, event: str, payload: dict[str, Any]) -> None:
        if self._session is None:
            return
        self._sequence += 1
        self._events.append({"op": DISPATCH, "d": payload, "s": self._sequence, "t": event})
        if self._socket is not None:
            await self._socket.send_json(self._events[-1])

    async def _gateway_address(self, _request: web.Request) -> web.Response:
        limit = {"total": 1000, "remaining": 999, "reset_after": 14_400_000, "max_concurrency": 1}
        return as_json({"url": self.gateway_url, "shards": 1, "session_start_limit": limit})

    async def _me(self, _request: web.Request) -> web.Response:
        return as_json(BOT)

    async def _application(self, _request: web.Request) -> web.Response:
        return as_json(application(discord.ApplicationFlags(gateway_message_content_limited=True)))

    async def _nothing(self, _request: web.Request) -> web.Response:
        return web.Response(status=204)

    async def _send(self, request: web.Request) -> web.Response:
        if self.delays:
            self.refused += 1
            delay = self.delays.pop(0)
            response = as_json(SLOWED_DOWN | {"retry_after": delay}, status=429)
            response.headers.update({"Via": "1.1 google", "Retry-After": str(delay)})
            return response
        said = await request.json()
        channel = int(request.match_info["channel"])
        created = await self._create(BOT_ID, said["content"], channel, said.get("message_reference"))
        return as_json(self._shown(created))

    async def _edit(self, request: web.Request) -> web.Response:
        edited = self.messages.get(int(request.match_info["id"]))
        if edited is not None:
            edited["content"] = (await request.json())["content"]
        return await self._fetch(request)

    async def _fetch(self, request: web.Request) -> web.Response:
        id_ = int(request.match_info["id"])
        return as_json(self._shown(id_)) if id_ in self.messages else as_json(UNKNOWN_MESSAGE, status=404)

    async def _history(self, request: web.Request) -> web.Response:
        before, after = int(request.query.get("before", 2**63)), int(request.query.get("after", 0))
        here = [id_ for id_, one in self.messages.items() if one["channel_id"] == request.match_info["channel"]]
        found = sorted((id_ for id_ in here if after < id_ < before), reverse=True)
        return as_json([self._shown(id_) for id_ in found[: int(request.query["limit"])]])

    async def _acknowledge(self, request: web.Request) -> web.Response:
        answered = self.responses[request.match_info["token"]]
        if answered:
            return as_json(ACKNOWLEDGED, status=400)
        answered.append(await request.json())
        return as_json({"interaction": {"id": request.match_info["id"], "type": COMMAND}})

    async def _follow_up(self, request: web.Request) -> web.Response:
        said = await request.json()
        self.responses[request.match_info["token"]].append(said)
        self._newest += 1
        return as_json(message(self._newest, BOT_ID, said["content"]) | {"webhook_id": BOT["id"]})

    async def _channel(self, request: web.Request) -> web.Response:
        assert int(request.match_info["channel"]) == DIRECT
        return as_json({"id": str(DIRECT), "type": 1, "last_message_id": None, "recipients": [user(ADA)]})

    async def _member(self, request: web.Request) -> web.Response:
        return as_json(member(int(request.match_info["id"])))

    async def _who_reacted(self, request: web.Request) -> web.Response:
        reacted = self.reactions[int(request.match_info["id"])].get(request.match_info["emoji"], [])
        return as_json([user(one) for one in reacted if request.query["type"] == "0"])

    async def _add_reaction(self, request: web.Request) -> web.Response:
        await self.react(BOT_ID, int(request.match_info["id"]), request.match_info["emoji"])
        return web.Response(status=204)

    def _shown(self, message_id: int) -> dict[str, Any]:
        reactions = [
            {
                "emoji": {"id": None, "name": emoji},
                "count": len(users),
                "count_details": {"burst": 0, "normal": len(users)},
                "me": BOT_ID in users,
                "me_burst": False,
                "burst_colors": [],
            }
            for emoji, users in self.reactions[message_id].items()
            if users
        ]
        return self.messages[message_id] | {"reactions": reactions}

    async def _create(
        self, user_id: int, content: str, channel: int, answers: dict[str, Any] | None = None, id_: int | None = None
    ) -> int:
        self._newest += 1
        id_ = id_ or self._newest
        created = message(id_, user_id, content) | {"channel_id": str(channel)}
        where = {} if channel == DIRECT else {"guild_id": str(GUILD)}
        if answers is not None:
            place = {"type": 0, "channel_id": str(channel)} | where
            created["message_reference"] = place | {"message_id": str(answers["message_id"])}
        self.messages[id_], self.reactions[id_] = created, {}
        await self._dispatch("MESSAGE_CREATE", created | where | ({"member": member(user_id)} if where else {}))
        return id_

    def _reaction(self, user_id: int, message_id: int, emoji: str) -> dict[str, Any]:
        return {
            "user_id": str(user_id),
            "channel_id": str(CHANNEL),
            "message_id": str(message_id),
            "guild_id": str(GUILD),
            "emoji": {"id": None, "name": emoji},
            "burst": False,
            "type": 0,
        }


def user(user_id: int) -> dict[str, Any]:
    names = {ADA: "ada", BO: "bo"}
    plain = {"discriminator": "0", "global_name": None, "avatar": None, "public_flags": 0}
    return BOT | {"bot": True} if user_id == BOT_ID else {"id": str(user_id), "username": names[user_id], **plain}


def member(user_id: int) -> dict[str, Any]:
    times = {"joined_at": "2024-04-26T06:26:56.936000+00:00", "premium_since": None}
    return {"user": user(user_id), "roles": [], "nick": None, "deaf": False, "mute": False, "flags": 0, **times}


def members_chunk(asked: dict[str, Any]) -> dict[str, Any]:
    found = [member(int(id_)) for id_ in asked["user_ids"]]
    chunk = {"guild_id": str(GUILD), "members": found, "chunk_index": 0, "chunk_count": 1, "not_found": []}
    return chunk | {"nonce": asked["nonce"]}


def message(message_id: int, user_id: int, content: str) -> dict[str, Any]:
    return {
        "id": str(message_id),
        "channel_id": str(CHANNEL),
        "author": user(user_id),
        "content": content,
        "timestamp": "2026-11-28T12:00:00.000000+00:00",
        "edited_timestamp": None,
        "tts": False,
        "mention_everyone": False,
        "mentions": [BOT | {"member": {"roles": []}}] if f"<@{BOT_ID}>" in content else [],
        "mention_roles": [],
        "attachments": [],
        "embeds": [],
        "pinned": False,
        "type": 0,
        "flags": 0,
        "components": [],
    }


def guild(slow_mode_s: int, newest: int | None) -> dict[str, Any]:
    everyone = {
        "id": str(GUILD),
        "name": "@everyone",
        "color": 0,
        "colors": {"primary_color": 0, "secondary_color": None, "tertiary_color": None},
        "hoist": False,
        "position": 0,
        "permissions": str(discord.Permissions(84992).value),
        "managed": False,
        "mentionable": False,
        "flags": 0,
    }
    channel = {
        "id": str(CHANNEL),
        "guild_id": str(GUILD),
        "name": "general",
        "type": 0,
        "position": 6,
        "permission_overwrites": [],
        "rate_limit_per_user": slow_mode_s,
        "nsfw": False,
        "topic": None,
        "last_message_id": newest and str(newest),
        "parent_id": None,
    }
    return {
        "id": str(GUILD),
        "name": "Server",
        "owner_id": str(ADA),
        "unavailable": False,
        "large": False,
        "member_count": 3,
        "joined_at": "2026-04-26T06:26:56.936000+00:00",
        "roles": [everyone],
        "channels": [channel],
        "members": [member(BOT_ID)],
        "threads": [],
        "presences": [],
        "voice_states": [],
        "stage_instances": [],
        "guild_scheduled_events": [],
        "soundboard_sounds": [],
        "emojis": [],
        "stickers": [],
        "features": [],
        "verification_level": 1,
        "default_message_notifications": 0,
        "explicit_content_filter": 0,
        "mfa_level": 0,
        "nsfw_level": 0,
        "premium_tier": 0,
        "preferred_locale": "en-US",
        "afk_timeout": 300,
        "system_channel_flags": 0,
    }
