"""An OpenAI-compatible server on loopback that is well, slow, dead or broken on demand."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from enum import StrEnum

from aiohttp import web

WORDS = ("It ", "rains ", "and ", "the ", "river ", "rises.")
HANGING_S = 3_600.0
RETRY_S = 1
OVERLONG = 300_000
"""Characters of one event, more than any answer has."""


class Mood(StrEnum):
    WELL = "well"
    SLOW = "slow"
    """A word every `slow_s` seconds."""
    DEAD = "dead"
    """It takes the request and never answers, nor says that it is well."""
    SILENT = "silent"
    """Nothing more comes in the middle of an answer."""
    GONE = "gone"
    """Nobody listens."""
    BUSY = "busy"
    """429, as servers with a full queue answer."""
    UNAVAILABLE = "unavailable"
    """503 with Retry-After, as servers say that load a model."""
    FAILING = "failing"
    """500."""
    CUT = "cut"
    """The connection breaks within the answer."""
    GARBLED = "garbled"
    """What comes is no JSON."""
    FOREIGN = "foreign"
    """Events are JSON, and no completions."""
    UNENDED = "unended"
    """The answer stops without an end."""
    OVERLONG = "overlong"
    """One event never ends."""
    PAGE = "page"
    """A web page with status 200, as a proxy may send."""


STATUSES = {Mood.BUSY: 429, Mood.UNAVAILABLE: 503, Mood.FAILING: 500}
BROKEN_EVENTS = {Mood.GARBLED: "{", Mood.FOREIGN: '["no", "completion"]', Mood.OVERLONG: '"' + "x" * OVERLONG}


class FaultyEngine:
    def __init__(self) -> None:
        self.mood = Mood.WELL
        self.slow_s = 3.0
        self.seen: Counter[Mood] = Counter()
        self._runner: web.AppRunner | None = None
        self._port = 0

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        """Yield the server's address, which ends in /v1."""
        await self._listen()
        try:
            yield f"http://127.0.0.1:{self._port}/v1"
        finally:
            await self._leave()

    async def be(self, mood: Mood) -> None:
        """Change, also for answers under way where the server goes."""
        if mood is Mood.GONE:
            await self._leave()
        elif self._runner is None:
            await self._listen()
        self.mood = mood

    async def _listen(self) -> None:
        app = web.Application()
        app.router.add_get("/v1/models", self._models)
        app.router.add_get("/health", self._models)
        app.router.add_post("/v1/completions", self._complete)
        app.router.add_post("/v1/chat/completions", self._complete)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self._port).start()
        self._port = self._runner.addresses[0][1]

    async def _leave(self) -> None:
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    async def _models(self, _: web.Request) -> web.Response:
        if self.mood is Mood.DEAD:
            await asyncio.sleep(HANGING_S)
        return web.json_response({"object": "list", "data": [{"id": "base", "object": "model"}]})

    async def _complete(self, request: web.Request) -> web.StreamResponse:
        mood = self.mood
        self.seen[mood] += 1
        if mood is Mood.DEAD:
            await asyncio.sleep(HANGING_S)
        if mood in STATUSES:
            headers = {} if mood is Mood.FAILING else {"Retry-After": str(RETRY_S)}
            return web.json_response({"error": {"message": mood}}, status=STATUSES[mood], headers=headers)
        if mood is Mood.PAGE:
            return web.Response(text="<html><body>Welcome</body></html>", content_type="text/html")
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        with suppress(ConnectionError):  # the client disconnected
            await self._say(request, response, mood)
        return response

    async def _say(self, request: web.Request, response: web.StreamResponse, mood: Mood) -> None:
        is_chat = request.path.endswith("chat/completions")
        await response.prepare(request)
        for number, word in enumerate(WORDS):
            if mood is Mood.SLOW:
                await asyncio.sleep(self.slow_s)
            if number == len(WORDS) // 2:
                if mood is Mood.CUT:
                    assert request.transport is not None
                    request.transport.abort()
                    return
                if mood is Mood.UNENDED:
                    return
                if mood is Mood.SILENT:
                    await asyncio.sleep(HANGING_S)
            await response.write(_event(BROKEN_EVENTS.get(mood) or _chunk(word, is_chat=is_chat)))
        await response.write(_event(_chunk("", is_chat=is_chat, finish="stop")) + _event("[DONE]"))


def _event(data: str) -> bytes:
    return f"data: {data}\n\n".encode()


def _chunk(word: str, *, is_chat: bool, finish: str | None = None) -> str:
    said = {"delta": {"content": word}} if is_chat else {"text": word}
    return json.dumps({"id": "1", "model": "base", "choices": [{"index": 0, **said, "finish_reason": finish}]})
