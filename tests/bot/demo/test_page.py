"""The demo's page is ready when the model is."""

from __future__ import annotations

import asyncio
import html
import signal
import socket

import pytest

from bot.demo.page import demo_overrides, serve_demo
from bot.errors import UserFacingError
from storage.errors import SettingsError
from storage.settings.loading import load_settings
from tests.bot.console.conftest import Browser, new_client, port
from tests.bot.scripted_engine import ScriptedEngine

__all__ = ["port"]

HANG_S = 60


class SlowEngine(ScriptedEngine):
    def __init__(self) -> None:
        super().__init__()
        self.is_starting, self.may_start = asyncio.Event(), asyncio.Event()

    async def start(self) -> None:
        self.is_starting.set()
        await self.may_start.wait()


async def test_it_is_ready_when_the_model_is_loaded(settings, base, port):
    engine, links, is_ready = SlowEngine(), [], asyncio.Event()

    def announce(link: str) -> None:
        links.append(link)
        is_ready.set()

    async with asyncio.timeout(HANG_S):
        serving = asyncio.create_task(serve_demo(settings, engine=engine, base=base, port=port, on_ready=announce))
        await engine.is_starting.wait()
        assert links == []
        engine.may_start.set()
        await is_ready.wait()
        async with new_client() as client:
            seen = await Browser(client, port).enter(links[0].removeprefix(f"http://127.0.0.1:{port}"))
            assert seen.path == "/channel/ada/lounge"
            assert "Welcome! I'm a small language model" in html.unescape(seen.html)
        signal.raise_signal(signal.SIGTERM)
        await serving


async def test_a_model_that_cannot_be_loaded_ends_it_with_the_reason(settings, base, port):
    class Broken(ScriptedEngine):
        async def start(self) -> None:
            raise UserFacingError("The model's files are incomplete.")

    with pytest.raises(UserFacingError, match="files are incomplete"):
        await serve_demo(settings, engine=Broken(), base=base, port=port, on_ready=pytest.fail)


async def test_a_port_that_was_taken_meanwhile_is_named(settings, engine, base, port):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        taken.listen()
        with pytest.raises(SettingsError, match=f"port {port} is in use"):
            await serve_demo(settings, engine=engine, base=base, port=port, on_ready=pytest.fail)


def test_bot_and_trainer_log_only_warnings_to_the_demos_console(tmp_path):
    overrides = demo_overrides(str(tmp_path))
    assert load_settings(environment=overrides).logs.level == "warning"
