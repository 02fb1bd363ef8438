"""The demo's page: ready when the model is, and with the conversation of earlier starts."""

from __future__ import annotations

import asyncio
import signal
from contextlib import closing

import discord
import pytest
import simcord
from sqlalchemy import update

from bot.app import ReactuneBot
from bot.demo.page import WELCOME, WORLD_BEGINS, build_world, demo_overrides, serve_demo
from bot.demo.restore import restore_chat
from storage.database.database import open_database
from storage.database.enums import Basis, Outcome
from storage.database.tables import ReplyRow
from storage.settings.loading import load_settings
from storage.votes.votes import Thumb, VoteEvent, append_events
from tests.bot.environment import Env
from tests.bot.scripted_engine import ScriptedEngine
from tests.seeding import add_reply, message_of

HANG_S = 60
QUESTIONS = -1_000
"""From the id of an answer's message to that of its question."""


class SlowEngine(ScriptedEngine):
    def __init__(self) -> None:
        super().__init__()
        self.is_starting, self.may_start = asyncio.Event(), asyncio.Event()

    async def start(self) -> None:
        self.is_starting.set()
        await self.may_start.wait()


async def test_it_is_ready_when_the_model_is_loaded(settings, base):
    engine, addresses, is_ready = SlowEngine(), [], asyncio.Event()

    def announce(address: str, console: str) -> None:
        addresses.append(address)
        is_ready.set()

    async with asyncio.timeout(HANG_S):
        serving = asyncio.create_task(serve_demo(settings, engine=engine, base=base, port=0, on_ready=announce))
        await engine.is_starting.wait()
        assert addresses == []
        engine.may_start.set()
        await is_ready.wait()
        signal.raise_signal(signal.SIGTERM)
        await serving
    assert addresses[0].startswith("http://127.0.0.1:")


class TestRestored:
    @pytest.fixture
    def world(self):
        """Return the simulator before the bot starts, and the demo's world."""
        env = simcord.Env(discord.Client(intents=discord.Intents.default()))
        return env.backend, build_world(env)

    @pytest.fixture
    def shown(self, settings, world):
        """Restore the channel, and return its messages in the order of the page."""

        def put_back():
            backend, channel_id = world[0], world[1].channel.id
            restore_chat(settings, backend, channel_id, WELCOME, since=WORLD_BEGINS)
            return sorted(backend.messages[channel_id].values(), key=lambda message: message.id)

        return put_back

    @pytest.fixture
    def earlier(self, settings, world):
        """Write answers of an earlier start, each to its own question, and a thumb under each."""
        channel_id, ada = world[1].channel.id, world[1].viewers[0].id

        def write(session, outcome):
            id_ = add_reply(session, channel_id=channel_id, author_id=ada, outcome=outcome)
            asked = update(ReplyRow).where(ReplyRow.id == id_).values(source_message_id=QUESTIONS + message_of(id_))
            session.execute(asked)
            thumb = Thumb(message_of(id_), ada, "👎")
            append_events(session, [VoteEvent(id_, thumb, added=True)])

        with closing(open_database(settings)) as database, database.transaction() as session:
            for outcome in (Outcome.COMPLETE, Outcome.LENGTH, Outcome.CANCELLED):
                write(session, outcome)

    def test_a_first_start_shows_the_welcome_alone(self, shown):
        assert [message.content for message in shown()] == [WELCOME]

    def test_the_welcome_comes_before_the_earlier_conversation(self, shown, earlier):
        messages = shown()
        assert messages[0].content == WELCOME
        assert messages[0].timestamp <= messages[1].timestamp
        assert len(messages) == 5  # two questions with their answers

    def test_an_answer_that_was_cut_still_says_so(self, shown, earlier):
        _, _, _, whole, cut = shown()
        assert whole.content.endswith("-# base")
        assert cut.content.endswith("-# base · stopped at the length limit")

    def test_votes_stand_under_their_answers(self, shown, earlier):
        _, question, *_, answer = shown()
        assert {one.emoji: len(one.user_ids) for one in answer.reactions} == {"👍": 1, "👎": 2, "🔁": 1}
        assert question.reactions == []


async def test_an_export_arrives_in_the_page_which_has_no_direct_messages(settings, engine, base):
    env = Env(ReactuneBot(settings, engine=engine, base=base, fixed_basis=Basis.LOCAL))
    world = build_world(env)
    await env.start()
    exported = await world.viewers[0].slash(world.channel, "privacy export")
    assert exported.response.ephemeral
    assert "in our direct messages" not in exported.response.content
    assert [attachment.filename.partition(".")[2] for attachment in exported.response.attachments] != []
    await env.bot.close()
    await env.shutdown()


def test_bot_and_trainer_log_only_warnings_to_the_demos_console(tmp_path):
    overrides = demo_overrides(str(tmp_path), channel_id=1)
    assert load_settings(environment=overrides).logs.level == "warning"
