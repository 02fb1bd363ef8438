"""The doctor tries the servers that look at pictures and write down voice messages."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio
from pydantic import SecretStr

from reactune.doctor.attachments import check_pictures, check_voice
from reactune.doctor.findings import Hint, Problem
from reactune.models import Machine
from storage.models.free_memory import FreeMemory
from storage.settings.sections import PictureSettings, Settings, VoiceSettings
from tests.attachment_server import AttachmentServer, attachment_server
from tests.seeding import tiny_settings
from tests.seeing_model import build_seeing_base
from tests.tiny_model import build_tiny_base


@pytest_asyncio.fixture
async def server() -> AsyncIterator[AttachmentServer]:
    async with attachment_server() as running:
        yield running


def settings_for(url: str, key: str = "") -> Settings:
    secret = SecretStr(key)
    own = {"pictures": PictureSettings(url=url), "voice": VoiceSettings(url=url)}
    return Settings(**own, pictures_api_key=secret, voice_api_key=secret)


async def problem(check: Callable[[Settings], str], settings: Settings) -> str:
    with pytest.raises(Problem) as found:
        await asyncio.to_thread(check, settings)
    return str(found.value)


def settings_of(base: Path, folder: Path, **model: object) -> Settings:
    settings = tiny_settings(folder, base)
    return settings.model_copy(update={"model": settings.model.model_copy(update={"engine": "transformers", **model})})


def test_without_servers_it_says_what_members_read(tmp_path):
    blind = settings_of(build_tiny_base(tmp_path / "tiny"), tmp_path)
    assert check_pictures(blind).startswith("off (pictures.url is empty, and tiny cannot see pictures)")
    assert check_voice(Settings()).startswith("off (voice.url is empty)")


class TestABaseThatSees:
    @pytest.fixture
    def base(self, tmp_path):
        return build_seeing_base(tmp_path / "seeing", 2_048)

    def test_is_shown_a_picture(self, base, tmp_path):
        assert check_pictures(settings_of(base, tmp_path)) == "seeing says what a picture shows"

    @pytest.mark.parametrize("model", [{"engine": "openvino"}, {"engine": "remote"}, {"quantization": "4bit"}])
    def test_needs_transformers_and_all_its_bits(self, base, tmp_path, model):
        said = check_pictures(settings_of(base, tmp_path, **model))
        assert said.startswith("off (pictures.url is empty, and seeing sees only with model.engine =")

    def test_with_a_damaged_processor_is_a_problem(self, base, tmp_path):
        (base / "processor_config.json").write_text("{")
        with pytest.raises(Problem, match=r"cannot look at pictures \(its processor cannot be used"):
            check_pictures(settings_of(base, tmp_path))

    def test_is_not_loaded_beside_a_bot_that_needs_the_memory(self, base, tmp_path, monkeypatch):
        here = Machine(FreeMemory(1_000_000, 8 * 10**9), 10**12)
        monkeypatch.setattr(Machine, "here", lambda _folder: here)
        with pytest.raises(Hint, match="no picture was tried, because there is too little free memory"):
            check_pictures(settings_of(base, tmp_path))


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
    [(check_pictures, "pictures.url", "PICTURES_API_KEY"), (check_voice, "voice.url", "VOICE_API_KEY")],
)
async def test_it_says_what_to_do(server, check, setting, variable):
    assert f"start it, or correct {setting}" in await problem(check, settings_for("http://127.0.0.1:9"))
    server.key = "sk-1"
    assert f"set its key as {variable} in the environment" in await problem(check, settings_for(server.url, "sk-2"))
    assert await asyncio.to_thread(check, settings_for(server.url, "sk-1"))
    server.key, server.status = "", 500
    assert "image input is not supported" in await problem(check, settings_for(server.url))
