"""The gateway connects before the model is loaded; questions wait until then. Without a model the bot stops."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import discord
import pytest
import simcord
from pydantic import SecretStr

from bot.app import ReactuneBot
from bot.chat.prompting import ChatMessage
from bot.demo.page import DemoTasks
from bot.engine import RenderedPrompt, selection
from bot.errors import EngineClosed, EngineStopped
from bot.runner import run_bot
from storage.settings.sections import Settings
from tests.bot.environment import changed
from tests.bot.scripted_engine import ScriptedEngine

WARMING_UP = "I'm still warming up. I'll answer as soon as my model is loaded."


class SlowEngine(ScriptedEngine):
    """It starts when the test lets it."""

    def __init__(self) -> None:
        super().__init__()
        self.may_start = asyncio.Event()

    async def start(self) -> None:
        await self.may_start.wait()
        await super().start()

    async def render(self, messages: Sequence[ChatMessage]) -> RenderedPrompt:
        await self.may_start.wait()
        return await super().render(messages)


async def test_questions_during_loading_are_answered_afterwards(settings, base):
    engine = SlowEngine()
    bot = ReactuneBot(settings, engine=engine, base=base, tasks=DemoTasks())
    env = simcord.Env(bot, settle_timeout=120)
    channel = env.create_guild("Server").create_text_channel("general")
    ada = env.guild.add_member(env.create_user("ada"))
    await asyncio.wait_for(env.start(), 120)
    assert (bot.status, bot.activity is None) == (discord.Status.idle, False)
    asking = asyncio.ensure_future(ada.send(channel, f"{bot.user.mention} hi"))
    await asyncio.sleep(0.2)
    assert not engine.requests
    engine.may_start.set()
    await asking
    await bot.loading
    async with asyncio.timeout(60):
        # The simulator does not follow the demo's tasks.
        while "answer 1\n-# base" not in [message.content for message in channel.history()]:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    await env.settle()
    assert WARMING_UP in [message.content for message in channel.history()]
    assert (bot.status, bot.activity) == (discord.Status.online, None)
    await bot.close()
    await env.shutdown()
    env.raise_errors()


class BrokenEngine(ScriptedEngine):
    async def start(self) -> None:
        raise EngineStopped("the base model cannot be used: it is a cake")


@pytest.mark.parametrize("error", [OSError("no libcuda"), EngineStopped("no engine starts: no libcuda")])
async def test_an_engine_that_cannot_be_chosen_says_why(settings, base, monkeypatch, error: Exception) -> None:
    def fail(_settings: object) -> bool:
        raise error

    monkeypatch.setattr(selection, "prefers_graphs", fail)
    engine = selection.ChosenEngine(settings, base)
    with pytest.raises(EngineStopped, match="no engine starts: no libcuda"):
        await engine.start()
    with pytest.raises(EngineStopped, match="no engine starts: no libcuda"):
        await engine.render([{"role": "user", "content": "hi"}])
    await engine.close(0.0)
    with pytest.raises(EngineClosed):
        await engine.render([{"role": "user", "content": "hi"}])


class Connected(ReactuneBot):
    """A bot that connects to Discord at once."""

    async def start(self, token: str, *, reconnect: bool = True) -> None:
        await self.setup_hook()
        while not self.is_closed():  # noqa: ASYNC110  # discord.py has no event for it
            await asyncio.sleep(0.01)


def test_without_a_model_the_bot_ends_and_says_why(settings: Settings, base) -> None:
    with_token = settings.model_copy(update={"discord_token": SecretStr("a.token")})
    quiet = changed(with_token, "discord", sync_commands=False)
    with pytest.raises(EngineStopped, match="it is a cake"):
        run_bot(quiet, lambda settings: Connected(settings, engine=BrokenEngine(), base=base, fixed_basis=None))
