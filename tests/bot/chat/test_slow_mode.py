"""Slow mode over HTTP, as Discord's documentation shows its answer: the simulator has none."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import discord
import pytest
import pytest_asyncio
from aiohttp import web
from aiohttp.test_utils import TestServer
from discord.http import Route

from bot.app import ReactuneBot
from bot.chat.message_stream import MessageStream
from bot.chat.voices import BotVoice
from storage.settings.sections import OutputSettings
from tests.bot.recorded_discord import BOT_ID, SLOWED_DOWN, message
from tests.reactune.doctor.test_discord_side import BOT, as_json

CHANNEL_ID = 1456074443980800055


@pytest_asyncio.fixture
async def slow_channel(
    new_bot: Callable[[], ReactuneBot], monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[discord.PartialMessageable]:
    """A channel of the bot that accepts one message, and the next one six hours later."""
    accepted = 0

    async def answer(request: web.Request) -> web.Response:
        nonlocal accepted
        if request.path == "/users/@me":
            return as_json(BOT)
        accepted += 1
        if accepted == 1:
            sent = message(CHANNEL_ID + accepted, BOT_ID, (await request.json())["content"])
            return as_json(sent | {"channel_id": str(CHANNEL_ID)})
        response = as_json(SLOWED_DOWN, status=429)
        response.headers["Via"] = "1.1 google"
        return response

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    async with TestServer(app) as server, new_bot() as bot:
        monkeypatch.setattr(Route, "BASE", str(server.make_url("")).rstrip("/"))
        await bot.http.static_login("token")
        yield bot.get_partial_messageable(CHANNEL_ID)


async def test_a_message_that_slow_mode_delays_for_hours_is_handed_back_to_be_sent_later(slow_channel):
    async def note(*_: object) -> None:
        return None

    stream = MessageStream(
        BotVoice(slow_channel, None),
        edit_interval_s=0.0,
        output=OutputSettings(),
        on_message=note,
        on_surplus=note,
    )
    with pytest.raises(discord.RateLimited):
        await stream.finish("word " * 700, "-# v3")
    assert stream.last_message is not None
    assert stream.pause_s > 21_000
