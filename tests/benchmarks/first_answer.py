"""Starts the bot as the command line does, on a simulated Discord, asks it something and says how far that has come."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import reactune.app  # noqa: F401  # the command line loads it before the bot
from bot.app import ReactuneBot
from storage.database.enums import Basis
from storage.settings.loading import load_settings, variable_name
from storage.settings.sections import EVERY_SERVER
from tests.bot.environment import Env

CONNECTED, FIRST_TEXT, ANSWERED = "connected", "first text", "answered"
MESSAGE = "Hello! How are you today?"
PATIENCE_S = 300.0


async def _start_and_ask() -> None:
    bot = ReactuneBot(
        load_settings(
            overrides={
                variable_name("access", "servers"): str(EVERY_SERVER),
                variable_name("chat", "second_answers"): "0",
            }
        ),
        fixed_basis=Basis.LOCAL,
    )
    env = Env(bot)
    guild = env.create_guild("Server")
    channel = guild.create_text_channel("general")
    member = guild.add_member(env.create_user("ada"))
    # Ids are times: the database holds those of earlier starts.
    env.backend.advance_clock((datetime.now(UTC) - env.backend.clock.now()).total_seconds())
    await env.start()
    assert bot.user is not None
    _say(CONNECTED)
    first = asyncio.create_task(bot.wait_for("message", check=lambda message: message.author == bot.user))
    whole = asyncio.create_task(bot.wait_for("raw_reaction_add"))  # it adds 👍 below a whole answer
    asking = asyncio.create_task(member.send(channel, f"{bot.user.mention} {MESSAGE}"))
    await asyncio.wait_for(first, PATIENCE_S)
    _say(FIRST_TEXT)
    await asyncio.wait_for(whole, PATIENCE_S)
    _say(ANSWERED)
    await asking
    await bot.close()
    await env.shutdown()


def _say(what: str) -> None:
    print(what, flush=True)


if __name__ == "__main__":
    asyncio.run(_start_and_ask())
