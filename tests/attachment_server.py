"""A server on loopback that looks at pictures, writes down voice messages and has web pages, and fails on demand."""

from __future__ import annotations

import asyncio
import base64
import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web
from PIL import Image


class AttachmentServer:
    def __init__(self) -> None:
        self.key = ""
        self.description = "A black cat on a red sofa."
        self.transcript = "Where is the cat?"
        self.reply: Any = None
        """In place of a proper one."""
        self.status = 200
        self.is_silent = False
        self.chats: list[dict[str, Any]] = []
        self.pictures: list[Image.Image] = []
        self.forms: list[dict[str, Any]] = []
        self.pages: dict[str, dict[str, Any]] = {}
        """What the response to each path is made from."""
        self.url = ""

    async def chat(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.chats.append(body)
        words, picture = body["messages"][0]["content"]
        assert (words["type"], picture["type"]) == ("text", "image_url")
        header, _, data = picture["image_url"]["url"].partition(",")
        assert header == "data:image/jpeg;base64"
        self.pictures.append(Image.open(io.BytesIO(base64.b64decode(data))))
        message = {"role": "assistant", "content": self.description}
        return await self._answer(request, {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]})

    async def transcribe(self, request: web.Request) -> web.Response:
        form = await request.post()
        file = form["file"]
        assert isinstance(file, web.FileField)
        self.forms.append({**form, "file": (file.filename, file.file.read())})
        return await self._answer(request, {"text": self.transcript})

    async def page(self, request: web.Request) -> web.Response:
        return web.Response(**self.pages[request.path])

    async def _answer(self, request: web.Request, proper: Any) -> web.Response:
        if self.is_silent:
            await asyncio.Event().wait()
        if self.key and request.headers.get("Authorization") != f"Bearer {self.key}":
            return web.json_response({"error": {"message": "wrong key"}}, status=401)
        if self.status != 200:
            return web.json_response({"error": {"message": "image input is not supported"}}, status=self.status)
        return web.json_response(proper if self.reply is None else self.reply)

    def asked(self) -> list[str]:
        """Return what it was told about each picture."""
        return [chat["messages"][0]["content"][0]["text"] for chat in self.chats]


@asynccontextmanager
async def attachment_server() -> AsyncIterator[AttachmentServer]:
    server = AttachmentServer()
    app = web.Application(client_max_size=50_000_000)
    app.router.add_post("/v1/chat/completions", server.chat)
    app.router.add_post("/v1/audio/transcriptions", server.transcribe)
    app.router.add_get("/{path:.*}", server.page)
    runner = web.AppRunner(app, shutdown_timeout=0.01, handler_cancellation=True)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    server.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield server
    await runner.cleanup()
