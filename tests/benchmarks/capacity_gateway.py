"""Measures how many unrelated messages one bot process can ignore in a second."""

from __future__ import annotations

import asyncio
import tempfile
import time
from pathlib import Path

from bot.app import ReactuneBot
from storage.models.base_model import BaseModel
from storage.settings.sections import DataSettings, Settings
from tests.bot.environment import Env
from tests.bot.scripted_engine import ScriptedEngine


def events_per_s(events: int = 20_000) -> float:
    """Return what discord.py and the bot's listeners take, of messages in a server that do not address the bot."""
    with tempfile.TemporaryDirectory() as folder:
        return asyncio.run(_measure(Path(folder), events))


async def _measure(folder: Path, events: int) -> float:
    base = BaseModel(name="none", path=folder, revision="0" * 16, architecture="none")
    settings = Settings(data=DataSettings(directory=folder))
    env = Env(ReactuneBot(settings, engine=ScriptedEngine(), base=base))
    await env.start()
    guild = env.create_guild("Server")
    channel = guild.create_text_channel("general")
    ada = guild.add_member(env.create_user("ada"))
    message = await ada.send(channel, "a message that stays")
    payload = _payload(message.id, channel.id, guild.id, ada.id)
    parse = env.bot._connection.parsers["MESSAGE_CREATE"]
    passed, has_passed_all = 0, asyncio.Event()

    async def count(_message: object) -> None:
        nonlocal passed
        passed += 1
        if passed == events:
            has_passed_all.set()

    env.bot.add_listener(count, "on_message")
    began_s = time.perf_counter()
    for number in range(events):
        parse({**payload, "id": str(message.id + number + 1)})
        await asyncio.sleep(0)  # as the gateway's loop does between two frames
    await has_passed_all.wait()
    seconds = time.perf_counter() - began_s
    await env.bot.close()
    await env.shutdown()
    return events / seconds


def _payload(message_id: int, channel_id: int, guild_id: int, user_id: int) -> dict[str, object]:
    """Return what Discord sends for a message, https://discord.com/developers/docs/resources/message#message-object."""
    author = {"id": str(user_id), "username": "ada", "discriminator": "0", "avatar": None, "global_name": None}
    return {
        "id": str(message_id),
        "channel_id": str(channel_id),
        "guild_id": str(guild_id),
        "author": author,
        "member": {"roles": [], "joined_at": "2026-01-01T00:00:00+00:00", "deaf": False, "mute": False, "flags": 0},
        "content": "a message of members among themselves",
        "timestamp": "2026-01-01T00:00:00+00:00",
        "edited_timestamp": None,
        "tts": False,
        "mention_everyone": False,
        "mentions": [],
        "mention_roles": [],
        "attachments": [],
        "embeds": [],
        "pinned": False,
        "type": 0,
    }
