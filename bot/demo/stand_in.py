"""A stand-in for a server that sees: it measures pictures, and says that it is a stand-in."""

from __future__ import annotations

import base64
import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

from storage.operations.console_sessions import LOOPBACK
from storage.settings.sections import Settings

MOST_BYTES = 8_000_000
COLOURS = {
    "black": (0, 0, 0),
    "grey": (128, 128, 128),
    "white": (255, 255, 255),
    "red": (220, 40, 40),
    "orange": (240, 150, 40),
    "yellow": (240, 230, 60),
    "green": (50, 160, 60),
    "blue": (50, 90, 210),
    "purple": (140, 60, 170),
    "pink": (240, 150, 190),
    "brown": (120, 80, 50),
}
SAID = (
    "This description comes from the demo's stand-in for a model that sees. It cannot see. It has only measured the "
    "picture, which is {width} by {height} pixels and on average {colour}."
)


@asynccontextmanager
async def with_stand_in(settings: Settings) -> AsyncIterator[Settings]:
    """Yield the settings with a server for pictures: the stand-in on loopback, unless one is configured."""
    if settings.pictures.server:
        yield settings
        return
    app = web.Application(client_max_size=MOST_BYTES)
    app.router.add_post("/v1/chat/completions", _describe)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, LOOPBACK, 0).start()
        address = f"http://{LOOPBACK}:{runner.addresses[0][1]}"
        pictures = settings.pictures.model_copy(update={"server": address})
        yield settings.model_copy(update={"pictures": pictures})
    finally:
        await runner.cleanup()


async def _describe(request: web.Request) -> web.Response:
    """Answer a chat completion whose last part is a picture, as a server with a model that sees does."""
    from PIL import Image

    body = await request.json()
    address = body["messages"][0]["content"][-1]["image_url"]["url"]
    with Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2]))) as picture:
        average = picture.convert("RGB").resize((1, 1)).tobytes()
        said = SAID.format(width=picture.width, height=picture.height, colour=_name_of(average))
    message = {"role": "assistant", "content": said}
    return web.json_response({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]})


def _name_of(colour: bytes) -> str:
    """Return the name of the nearest colour."""
    return min(COLOURS, key=lambda name: sum((a - b) ** 2 for a, b in zip(COLOURS[name], colour, strict=True)))
