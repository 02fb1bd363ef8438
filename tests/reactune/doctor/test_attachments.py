"""The doctor tries the servers that look at pictures and write down voice messages."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
import pytest_asyncio
from pydantic import SecretStr

from reactune.doctor.attachments import check_pictures, check_voice
from reactune.doctor.findings import Problem
from storage.settings.sections import PictureSettings, Settings, VoiceSettings
from tests.attachment_server import AttachmentServer, attachment_server


@pytest_asyncio.fixture
async def server() -> AsyncIterator[AttachmentServer]:
    async with attachment_server() as running:
        yield running


def settings_for(url: str, key: str = "") -> Settings:
    secret = SecretStr(key)
    own = {"pictures": PictureSettings(server=url), "voice": VoiceSettings(server=url)}
    return Settings(**own, pictures_api_key=secret, voice_api_key=secret)


async def problem(check: Callable[[Settings], str], settings: Settings) -> str:
    with pytest.raises(Problem) as found:
        await asyncio.to_thread(check, settings)
    return str(found.value)


def test_without_servers_it_says_what_members_read():
    assert check_pictures(Settings()).startswith("off (pictures.server is empty)")
    assert check_voice(Settings()).startswith("off (voice.server is empty)")


async def test_each_server_gets_something_small_to_try(server):
    settings = settings_for(server.url)
    assert await asyncio.to_thread(check_pictures, settings) == f"{server.url} says what a picture shows"
    assert await asyncio.to_thread(check_voice, settings) == f"{server.url} writes down what is said"
    assert server.pictures[0].size == (64, 64)
    name, content = server.forms[0]["file"]
    assert name == "silence.wav"
    assert content.startswith(b"RIFF")


@pytest.mark.parametrize(
    ("check", "setting", "variable"),
    [(check_pictures, "pictures.server", "PICTURES_API_KEY"), (check_voice, "voice.server", "VOICE_API_KEY")],
)
async def test_it_says_what_to_do(server, check, setting, variable):
    assert f"start it, or correct {setting}" in await problem(check, settings_for("http://127.0.0.1:9"))
    server.key = "sk-1"
    assert f"set its key as {variable} in the environment" in await problem(check, settings_for(server.url, "sk-2"))
    assert await asyncio.to_thread(check, settings_for(server.url, "sk-1"))
    server.key, server.status = "", 500
    assert "image input is not supported" in await problem(check, settings_for(server.url))
