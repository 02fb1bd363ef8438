"""The demo's page: ready when the model is, and with the conversation of earlier starts."""

from __future__ import annotations

import asyncio
import html
import signal
import socket
from contextlib import closing

import discord
import pytest
import simcord
from sqlalchemy import update

from bot.attachments.material import file_material, unread_material, with_materials
from bot.demo.channel.world import World
from bot.demo.page import WELCOME, demo_overrides, serve_demo
from bot.demo.restore import restore_chat
from bot.errors import UserFacingError
from bot.knowledge.quoting import add_quotes
from storage.database.database import open_database
from storage.database.enums import Outcome
from storage.database.tables import ReplyRow
from storage.errors import SettingsError
from storage.knowledge.search import Passage
from storage.personalities.cards import Card
from storage.personalities.personalities import create_personality
from storage.personalities.webhooks import OwnWebhook, record_webhook
from storage.settings.loading import load_settings
from storage.votes.votes import Thumb, VoteEvent, append_events
from tests.bot.console.conftest import Browser, new_client, port
from tests.bot.scripted_engine import ScriptedEngine
from tests.seeding import add_reply, message_of

__all__ = ["port"]

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


class TestRestored:
    @pytest.fixture
    def world(self):
        """Return the demo's world before the bot starts."""
        return World(simcord.Env(discord.Client(intents=discord.Intents.default())))

    @pytest.fixture
    def shown(self, settings, world):
        """Restore the talk, and return the lounge's messages in the order of the page."""

        def put_back(place="lounge"):
            restore_chat(settings, world, WELCOME)
            messages = world.env.backend.messages[world.seat("ada", place).channel.id]
            return sorted(messages.values(), key=lambda message: message.id)

        return put_back

    @pytest.fixture
    def earlier(self, settings, world):
        """Write answers of an earlier start, each to its own question, and a thumb under each."""
        ada = world.people["ada"].id

        def write(session, outcome, channel_id):
            id_ = add_reply(session, channel_id=channel_id, guild_id=world.guild.id, author_id=ada, outcome=outcome)
            asked = update(ReplyRow).where(ReplyRow.id == id_).values(source_message_id=QUESTIONS + message_of(id_))
            session.execute(asked)
            thumb = Thumb(message_of(id_), ada, "👎")
            append_events(session, [VoteEvent(id_, thumb, added=True)])

        with closing(open_database(settings)) as database, database.transaction() as session:
            for outcome in (Outcome.COMPLETE, Outcome.LENGTH, Outcome.CANCELLED):
                write(session, outcome, world.lounge.id)
            write(session, Outcome.COMPLETE, world.seat("ada", "direct").channel.id)
            write(session, Outcome.COMPLETE, message_of(1))

    def test_a_first_start_shows_the_welcome_alone(self, shown):
        assert [message.content for message in shown()] == [WELCOME]

    def test_the_welcome_comes_before_the_earlier_conversation(self, shown, earlier):
        messages = shown()
        assert messages[0].content == WELCOME
        assert messages[0].timestamp <= messages[1].timestamp
        assert len(messages) == 5  # two questions with their answers

    def test_direct_messages_are_where_they_were(self, shown, earlier):
        assert len(shown("direct")) == 2

    def test_a_thread_is_open_under_its_message(self, shown, earlier, world):
        shown()
        thread = world.seat("bo", str(message_of(1)))
        assert thread.place.name == "↳ <|user|>hello<|bot|>"
        assert thread.path in [seat.path for seat in world.seats_of("bo")[1:3]]
        assert len(world.env.backend.messages[thread.channel.id]) == 2

    def test_an_answer_that_was_cut_still_says_so(self, shown, earlier):
        _, _, _, whole, cut = shown()
        assert whole.content.endswith("-# base")
        assert cut.content.endswith("-# base · stopped at the length limit")

    @pytest.mark.parametrize(
        ("words", "restored"),
        [("When?\n\nOr never?", "When?\n\nOr never?"), ("", "📎"), ("> Nobody", "> Nobody")],
    )
    def test_questions_are_shown_in_the_members_own_words(self, shown, settings, world, words, restored):
        materials = [file_material("plan.txt", "At nine.\n\nOr ten."), unread_material("a video")]
        asked = {"role": "user", "content": with_materials(words, materials)}
        passage = Passage(1, 1, "Pool", "", "Times", "It opens at nine.\n\nEvery day.", 0.9, (), 0.0)
        [quoted] = add_quotes([asked], [passage])
        lounge, ada = world.lounge.id, world.people["ada"].id
        with closing(open_database(settings)) as database, database.transaction() as session:
            for message in (asked, quoted):
                id_ = add_reply(session, channel_id=lounge, author_id=ada, messages=[message])
                source = QUESTIONS + message_of(id_)
                session.execute(update(ReplyRow).where(ReplyRow.id == id_).values(source_message_id=source))
        assert [message.content for message in shown() if message.author_id == ada] == [restored, restored]

    def test_a_personality_has_its_name_and_webhook_again(self, shown, settings, world):
        with closing(open_database(settings)) as database, database.transaction() as session:
            ebba = create_personality(session, "ebba", Card(display_name="Ebba, the keeper"), by="test").id
            record_webhook(session, OwnWebhook(7, world.lounge.id, ebba, None))
            where = {"channel_id": world.lounge.id, "guild_id": world.guild.id, "author_id": world.people["ada"].id}
            add_reply(session, personality_id=ebba, **where)
        answer = shown()[-1]
        assert (answer.author_name, answer.webhook_id, answer.author_id) == ("Ebba, the keeper", 7, 7)
        assert "embed/avatars" in answer.author_avatar  # the bot's, as it has no picture of its own
        assert world.env.backend.get_webhook(7).channel_id == world.lounge.id

    def test_votes_stand_under_their_answers(self, shown, earlier):
        _, question, *_, answer = shown()
        assert {one.emoji: len(one.user_ids) for one in answer.reactions} == {"👍": 1, "👎": 2, "🔁": 1}
        assert question.reactions == []


def test_bot_and_trainer_log_only_warnings_to_the_demos_console(tmp_path):
    overrides = demo_overrides(str(tmp_path))
    assert load_settings(environment=overrides).logs.level == "warning"
