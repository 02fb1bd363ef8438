"""After the demo starts again, its server stands as it was."""

from __future__ import annotations

from contextlib import closing

import discord
import pytest
import pytest_asyncio
import simcord
from sqlalchemy import select

from bot.app import ReactuneBot
from bot.demo.channel.world import World
from bot.demo.chat_file import ChatFile
from storage.database.database import open_database
from storage.database.enums import Basis
from storage.database.tables import ComparisonRow
from storage.errors import SettingsError
from storage.personalities.cards import Card
from storage.personalities.personalities import create_personality
from storage.votes.arenas import open_arenas, read_arena_answers
from tests.bot.environment import Env
from tests.bot.scripted_engine import ScriptedEngine
from tests.storage.adapters.test_folder_store import full_disk


@pytest_asyncio.fixture
async def start(settings, base):
    """Return a function that ends the demo, if it runs, and starts it."""
    running = []

    async def stop():
        for env, chat in running:
            await env.bot.close()
            await env.shutdown()
            await chat.save()
        running.clear()

    async def begin():
        await stop()
        bot = ReactuneBot(settings, engine=ScriptedEngine(), base=base, fixed_basis=Basis.LOCAL)
        env = Env(bot)
        world = World(env)
        await world.catch_up()
        chat = ChatFile(settings.data.directory, world)
        chat.restore("Welcome!")
        await env.start()
        running.append((env, chat))
        return world

    yield begin
    await stop()


async def ask(seat, text):
    await seat.say(f"<@{seat.world.env.backend.bot_user.id}> {text}", None)


def texts(world, place="lounge", person="ada"):
    return [message.content for message in world.seat(person, place).messages()]


async def test_every_message_is_there_again_with_its_time_and_its_reactions(start):
    world = await start()
    await ask(world.seat("ada", "lounge"), "Hello!")
    await world.seat("bo", "lounge").say("Hello, ada! No answer to this.", None)
    ada, [_, _, answer, _] = world.seat("ada", "lounge"), world.lounge.history()
    await world.act(ada.member.react(answer, "👎"))
    before = [(one.id, one.content, one.created_at) for one in ada.messages()]
    world = await start()
    ada = world.seat("ada", "lounge")
    assert [(one.id, one.content, one.created_at) for one in ada.messages()] == before
    reactions = {str(one.emoji): one.count for one in ada.message(answer.id).reactions}
    assert reactions == {"👍": 1, "👎": 2, "🔁": 1}
    await ada.say("And a new one.", None)
    assert [one.id for one in ada.messages()] == sorted(one.id for one in ada.messages())


async def test_a_page_that_is_open_over_the_restart_is_behind_it(start):
    world = await start()
    await ask(world.seat("ada", "lounge"), "Hello!")
    shown = world.changes
    assert (await start()).changes > shown, "it takes only what is newer"


async def test_threads_and_direct_messages_are_where_they_were(start):
    world = await start()
    await world.seat("ada", "direct").say("Just between us.", None)
    await world.seat("ada", "lounge").say("Green or black?", None)
    asked = world.lounge.history()[1]
    thread = await world.seat("ada", "lounge").open_thread(asked, "Tea")
    await ask(thread, "Green, then.")
    told, said = texts(world, "direct"), texts(world, str(asked.id))
    assert len(told) == len(said) == 2
    for _ in range(2):  # what is written once more, too
        world = await start()
        assert texts(world, "direct") == told
        assert texts(world, str(asked.id), "bo") == said
        assert "↳ Tea" in [seat.place.name for seat in world.seats_of("bo")]


async def test_a_file_can_still_be_opened_until_its_message_is_deleted(start, settings):
    world = await start()
    await world.seat("ada", "lounge").say("My plan.", None, [("plan.txt", b"At nine.")])
    world = await start()
    message = world.seat("ada", "lounge").messages()[1]
    assert await message.attachments[0].read() == b"At nine."
    stored = settings.data.directory / "attachments"
    assert [path.read_bytes() for path in stored.iterdir()] == [b"At nine."]
    world.env.backend.delete_message(world.lounge.id, message.id)
    await start()
    assert list(stored.iterdir()) == []


async def test_a_first_start_shows_the_welcome_alone_and_what_only_one_person_saw_is_gone(start):
    world = await start()
    assert texts(world) == ["Welcome!"]
    await world.seat("ada", "lounge").slash("privacy", {})
    assert len(texts(world)) == 2
    assert texts(await start()) == ["Welcome!"]


async def test_a_personality_keeps_its_name_and_its_webhook(start, settings):
    world = await start()
    with closing(open_database(settings)) as database, database.transaction() as session:
        create_personality(session, "ebba", Card(display_name="Ebba, the keeper"), by="test", guild_id=world.guild.id)
    grace = world.seat("grace", "lounge")
    await grace.slash("personality bind", {"personality": "ebba"})
    await ask(grace, "Who is there?")
    answer = world.lounge.history()[-1]
    assert answer.author.name == "Ebba, the keeper"
    world = await start()
    again = world.seat("bo", "lounge").message(answer.id)
    assert (again.author.name, again.webhook_id) == ("Ebba, the keeper", answer.webhook_id)
    await ask(world.seat("bo", "lounge"), "And now?")
    assert world.lounge.history()[-1].webhook_id == answer.webhook_id


class TestTwoAnswers:
    @pytest.fixture
    def overrides(self):
        return {"REACTUNE_CHAT__SECOND_ANSWERS": "1"}

    async def test_they_can_still_be_chosen_between_blindly(self, start, settings):
        world = await start()
        await ask(world.seat("ada", "lounge"), "Tea or coffee?")
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


@pytest.mark.parametrize("content", [b"", b"{", b'{"messages": [{"id": "no number"}]}'])
def test_a_file_that_cannot_be_read_is_named(tmp_path, content):
    (tmp_path / "discord.json").write_bytes(content)
    world = World(simcord.Env(discord.Client(intents=discord.Intents.default())))
    with pytest.raises(SettingsError, match=r"discord.json cannot be read: delete it to begin with an empty chat"):
        ChatFile(tmp_path, world).restore("Welcome!")


async def test_what_a_full_disk_refused_is_saved_once_there_is_room(settings, base, caplog):
    env = Env(ReactuneBot(settings, engine=ScriptedEngine(), base=base, fixed_basis=Basis.LOCAL))
    world = World(env)
    await world.catch_up()
    chat = ChatFile(settings.data.directory, world)
    chat.restore("Welcome!")
    with full_disk():
        await chat.save()
        await chat.save()
    assert [line for line in caplog.messages if "could not be saved" in line] == [
        "The demo's chat could not be saved (File too large). A restart would lose new messages."
    ]
    await chat.save()
    again = World(Env(ReactuneBot(settings, engine=ScriptedEngine(), base=base, fixed_basis=Basis.LOCAL)))
    await again.catch_up()
    ChatFile(settings.data.directory, again).restore("Not twice")
    assert texts(again) == ["Welcome!"]
