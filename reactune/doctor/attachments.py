"""Checks of the servers that look at pictures and write down voice messages: each gets a small one to try."""

from __future__ import annotations

import asyncio
import io
import wave
from collections.abc import Coroutine
from typing import Any

from bot.attachments.pictures import look_at
from bot.attachments.voice import write_down
from bot.engine.remote.replicas import problem_of
from bot.engine.remote.server import ServerError
from reactune.doctor.findings import Problem
from storage.settings.sections import PICTURES_KEY_VARIABLE, VOICE_KEY_VARIABLE, Settings

SIDE = 64
"""Pixels: models that see refuse smaller pictures."""
SAMPLE_RATE = 16_000


def check_pictures(settings: Settings) -> str:
    server = settings.pictures.server
    if not server:
        return "off (pictures.server is empty): the bot tells members that it cannot see"
    seen = look_at(_red_square(), "", settings)
    _try(seen, "pictures.server", PICTURES_KEY_VARIABLE)
    return f"{server} says what a picture shows"


def check_voice(settings: Settings) -> str:
    server = settings.voice.server
    if not server:
        return "off (voice.server is empty): the bot tells members that it cannot listen"
    _try(write_down(_silence(), settings, filename="silence.wav"), "voice.server", VOICE_KEY_VARIABLE)
    return f"{server} writes down what is said"


def _try(request: Coroutine[Any, Any, str], setting: str, key_variable: str) -> None:
    try:
        asyncio.run(request)
    except ServerError as error:
        raise Problem(problem_of(error, setting, key_variable)) from error


def _red_square() -> bytes:
    from PIL import Image

    file = io.BytesIO()
    Image.new("RGB", (SIDE, SIDE), "red").save(file, "PNG")
    return file.getvalue()


def _silence() -> bytes:
    """Return a second of it."""
    file = io.BytesIO()
    with wave.open(file, "wb") as recording:
        recording.setnchannels(1)
        recording.setsampwidth(2)
        recording.setframerate(SAMPLE_RATE)
        recording.writeframes(bytes(2 * SAMPLE_RATE))
    return file.getvalue()
