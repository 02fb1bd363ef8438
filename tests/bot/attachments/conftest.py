from __future__ import annotations

import io
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from PIL import Image

from storage.settings.sections import Settings
from tests.attachment_server import AttachmentServer, attachment_server


@pytest.fixture
def fixed_basis():
    return None


@pytest_asyncio.fixture
async def server() -> AsyncIterator[AttachmentServer]:
    async with attachment_server() as running:
        yield running


@pytest.fixture
def configure(env, settings):
    """Give the running bot other settings for what members send, by section."""

    def change(**sections: dict[str, object]) -> None:
        changed = {name: getattr(settings, name).model_copy(update=values) for name, values in sections.items()}
        own: Settings = settings.model_copy(update=changed)
        env.change_settings(own)
        env.bot.services.attachments._settings = own

    return change


def picture(width: int = 64, height: int = 48, kind: str = "PNG", mode: str = "RGB") -> bytes:
    file = io.BytesIO()
    Image.new(mode, (width, height), "red").save(file, kind)
    return file.getvalue()


async def send(place, text, *files, **options):
    """Ask the bot as ada, and return its answer."""
    await place.ada.send(place.channel, f"{place.mention} {text}".strip(), attachments=files, **options)
    return place.last
