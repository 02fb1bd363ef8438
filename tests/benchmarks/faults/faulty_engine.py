"""An OpenAI-compatible server on loopback that is well, slow, dead or broken, as it is told."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import StrEnum

from aiohttp import web

WORDS = ("It ", "rains ", "and ", "the ", "river ", "rises.")
HANGING_S = 3_600.0


class Mood(StrEnum):
    WELL = "well"
    SLOW = "slow"
    """A word every few seconds."""
    DEAD = "dead"
    """It takes the request and never answers."""
    BUSY = "busy"
    """429, as servers with a full queue answer."""
    FAILING = "failing"
    """500."""
    CUT = "cut"
    """The connection breaks within the answer."""
    GARBLED = "garbled"
    """What comes is no JSON."""


class FaultyEngine:
    def __init__(self) -> None:
        self.mood = Mood.WELL
        self.slow_s = 3.0
        self.seen: Counter[Mood] = Counter()

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        """Yield the server's address, which ends in /v1."""
        app = web.Application()
        app.router.add_get("/v1/models", self._models)
        app.router.add_get("/health", self._models)
        app.router.add_post("/v1/completions", self._complete)
        app.router.add_post("/v1/chat/completions", self._complete)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        assert site._server is not None
        port = site._server.sockets[0].getsockname()[1]  # type: ignore[union-attr]
        try:
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            await runner.cleanup()

    async def _models(self, _: web.Request) -> web.Response:
        if self.mood is Mood.DEAD:
            await asyncio.sleep(HANGING_S)
        return web.json_response({"object": "list", "data": [{"id": "base", "object": "model"}]})

    async def _complete(self, request: web.Request) -> web.StreamResponse:
        mood = self.mood
        self.seen[mood] += 1
        is_chat = request.path.endswith("chat/completions")
        if mood is Mood.DEAD:
            await asyncio.sleep(HANGING_S)
        if mood in (Mood.BUSY, Mood.FAILING):
            return web.json_response({"error": {"message": mood}}, status=429 if mood is Mood.BUSY else 500)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for number, word in enumerate(WORDS):
            if mood is Mood.SLOW:
                await asyncio.sleep(self.slow_s)
            if mood is Mood.CUT and number == len(WORDS) // 2:
                assert request.transport is not None
                request.transport.abort()
                return response
            await response.write(_event("{" if mood is Mood.GARBLED else _chunk(word, is_chat=is_chat)))
        await response.write(_event(_chunk("", is_chat=is_chat, finish="stop")) + _event("[DONE]"))
        return response


def _event(data: str) -> bytes:
    return f"data: {data}\n\n".encode()


def _chunk(word: str, *, is_chat: bool, finish: str | None = None) -> str:
    said = {"delta": {"content": word}} if is_chat else {"text": word}
    return json.dumps({"id": "1", "model": "base", "choices": [{"index": 0, **said, "finish_reason": finish}]})
