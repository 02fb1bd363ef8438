"""What goes on after the demo starts again."""

from __future__ import annotations

import asyncio
from contextlib import closing

import pytest
import pytest_asyncio
from sqlalchemy import select

from bot.app import ReactuneBot
from bot.demo.channel.world import World
from bot.demo.restore import restore_chat
from storage.database.database import open_database
from storage.database.enums import Basis
from storage.database.tables import ComparisonRow
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


class TestTwoAnswers:
    @pytest.fixture
    def overrides(self):
        return {"REACTUNE_CHAT__SECOND_ANSWERS": "1"}

    async def test_they_can_still_be_chosen_between_blindly(self, start, settings):
        world = await start()
        await world.seat("ada", "lounge").say(f"<@{world.env.backend.bot_user.id}> Tea or coffee?", None)
        second = world.lounge.last_message
        world = await start()
        seat = world.seat("bo", "lounge")
        shown = seat.message(second.id)
        assert [one.content for one in world.lounge.history()][-2].endswith("-# first answer")
        assert shown.content.endswith("-# second answer · which one is better?")
        await world.interact(seat.actor.click(shown, label="Second"))
        with closing(open_database(settings)) as database, database.snapshot() as session:
            [said] = session.scalars(select(ComparisonRow))
        assert (said.user_id, said.better_id) == (seat.actor.id, said.second_id)


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
