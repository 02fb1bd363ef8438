"""Asks a server to write down a voice message, through OpenAI's transcriptions."""

from __future__ import annotations

from typing import Any

import aiohttp

from bot.engine.remote.server import Faulty, connect
from bot.text.splitting import MAX_MESSAGE_CHARS
from storage.settings.sections import Settings
from storage.wording import shorten


async def write_down(content: bytes, settings: Settings, *, filename: str = "voice-message.ogg") -> str:
    """Return what a voice message says, at most as much as a message holds; empty if nobody speaks in it.

    Raises ServerError if the server fails. Its file type is what its name says, as servers expect.
    """
    own = settings.voice
    form = aiohttp.FormData({"response_format": "json"})
    if own.model:
        form.add_field("model", own.model)
    form.add_field("file", content, filename=filename)
    async with connect(own.server, settings.voice_api_key, settings.remote) as server:
        reply = await server.post_form("/v1/audio/transcriptions", form, own.timeout_s)
    return shorten(_text(own.server, reply), MAX_MESSAGE_CHARS)


def _text(url: str, reply: Any) -> str:
    said = reply.get("text") if isinstance(reply, dict) else None
    if not isinstance(said, str):
        raise Faulty(url, "sends a reply that is not a transcription")
    return said.strip()
