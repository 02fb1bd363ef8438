"""What goes on after the demo starts again."""

from __future__ import annotations

import asyncio
from contextlib import closing

import pytest_asyncio

from bot.app import ReactuneBot
from bot.demo.channel.world import World
from bot.demo.restore import restore_chat
from storage.database.database import open_database
from storage.database.enums import Basis
from storage.votes.arenas import open_arenas, read_arena_answers
from tests.bot.environment import Env
from tests.bot.scripted_engine import ScriptedEngine


@pytest_asyncio.fixture
async def start(settings, base):
    """Return a function that starts the demo's bot and ends the one before."""
    running = []

    async def stop():
        for env in running:
            await env.bot.close()
            await env.shutdown()
        running.clear()

    async def begin():
        await stop()
        bot = ReactuneBot(settings, engine=ScriptedEngine(), base=base, fixed_basis=Basis.LOCAL)
        env = Env(bot)
        world = World(env)
        await asyncio.to_thread(restore_chat, settings, world, "Welcome!")
        await env.start()
        running.append(env)
        return world

    yield begin
    await stop()


async def test_an_open_arena_goes_on(start, settings):
    world = await start()
    await world.seat("grace", "lounge").slash("arena start", {"prompt": "Tea or coffee?"})
    arena_id = world.lounge.last_message.id
    world = await start()
    seat = world.seat("ada", "lounge")
    shown = seat.message(arena_id)
    assert "Which answer is best?" in str([part.to_dict() for part in shown.components])
    await world.interact(seat.actor.click(shown, custom_id="reactune:arena:1:2"))
    with closing(open_database(settings)) as database, database.snapshot() as session:
        [arena] = open_arenas(session)
        assert [answer.picks for answer in read_arena_answers(session, arena.id)] == [0, 1, 0]
