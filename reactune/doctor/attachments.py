"""Checks of the models for pictures and voice messages: each gets a small one to try."""

from __future__ import annotations

import asyncio
import io
import wave
from collections.abc import Coroutine
from typing import Any

from bot.attachments.pictures import look_at, look_with
from bot.attachments.reader import write_down
from bot.engine.transformers.engine import LocalEngine
from bot.errors import BotError
from bot.model_server import ServerError, problem_of
from reactune.doctor.findings import Hint, Problem
from reactune.doctor.models import find_base
from reactune.models import Machine
from storage.models.base_model import BaseModel
from storage.models.memory import answering_bytes
from storage.models.openvino.verifier import is_served_as_graph
from storage.models.seeing import can_see, may_see
from storage.models.shape import shape_of
from storage.settings.sections import PICTURES_KEY_VARIABLE, VOICE_KEY_VARIABLE, Settings

SIDE = 64
"""Side of the test picture in pixels: vision models refuse smaller pictures."""
SAMPLE_RATE = 16_000


def check_pictures(settings: Settings) -> str:
    server = settings.pictures.url
    if not server:
        return _check_base(settings)
    seen = look_at(_red_square(), "", settings)
    _try(seen, "pictures.url", PICTURES_KEY_VARIABLE)
    return f"{server} says what a picture shows"


def _check_base(settings: Settings) -> str:
    """Show the base a picture, if the base looks at pictures and there is memory to load it."""
    off = "the bot tells members that it cannot see"
    base = find_base(settings)
    if not can_see(base.path):
        return f"off (pictures.url is empty, and {base.name} cannot see pictures): {off}"
    if not may_see(base.path, settings) or is_served_as_graph(shape_of(base.path).config, settings.model):
        needs = 'model.engine = "transformers" and no model.quantization'
        return f"off (pictures.url is empty, and {base.name} sees only with {needs}): {off}"
    shape, machine = shape_of(base.path), Machine.here(settings.data.directory)
    if answering_bytes(shape, settings, as_graph=False) > machine.memory.free:
        raise Hint(f"{base.name} sees; no picture was tried, because there is too little free memory to load it again")
    try:
        asyncio.run(_show_base(base, settings))
    except BotError as error:
        raise Problem(f"{base.name} cannot look at pictures ({error.__cause__ or error})") from error
    return f"{base.name} says what a picture shows"


async def _show_base(base: BaseModel, settings: Settings) -> None:
    engine = LocalEngine(base.path, settings.model, settings.generation, sees=True)
    await engine.start()
    try:
        await look_with(engine, _red_square(), "", settings.pictures)
    finally:
        await engine.close(0.0)


def check_voice(settings: Settings) -> str:
    server = settings.voice.url
    if not server:
        return "off (voice.url is empty): the bot tells members that it cannot listen"
    _try(write_down(_silence(), settings, filename="silence.wav"), "voice.url", VOICE_KEY_VARIABLE)
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
    """Return a second of silence as a WAV file."""
    file = io.BytesIO()
    with wave.open(file, "wb") as recording:
        recording.setnchannels(1)
        recording.setsampwidth(2)
        recording.setframerate(SAMPLE_RATE)
        recording.writeframes(bytes(2 * SAMPLE_RATE))
    return file.getvalue()
