"""What the bot is, what it does and what it cannot see is said by fixed sentences, whatever the model would say."""

from __future__ import annotations

import pytest

from bot.attachments.pictures import BLIND
from bot.chat.context import FIXED
from storage.database.enums import Origin, Outcome, Scope
from storage.database.tables import ReplyRow, VoteEventRow
from storage.personalities.bindings import BindingPlace, bind
from storage.personalities.cards import Card
from storage.personalities.personalities import create_personality
from tests.bot.attachments.conftest import picture
from tests.bot.cogs.test_feedback import MENU

SMALL_PRINT = "-# a fixed sentence, not written by the model · votes don't change it"
SAID = "I'm TestBot, a bot and not a person. A language model (tiny) writes my answers."
CAT = ("cat.png", picture())


@pytest.fixture
def lie(engine):
    engine.answers = ["No, I'm human."] * 9


@pytest.mark.usefixtures("lie")
class TestWhatItIs:
    async def test_the_truth_is_said_without_the_model_and_not_voted_on_repeated_or_improved(self, place, engine, rows):
        answer = await place.ask("are you a bot?")
        assert answer.content == f"{SAID}\n{SMALL_PRINT}"
        reply = rows(ReplyRow)[0]
        assert (reply.origin, reply.outcome, reply.answer) == (Origin.FIXED, Outcome.COMPLETE, SAID)
        assert (reply.basis, reply.version_id, reply.prompt, reply.undelivered) == (None, None, "", None)
        assert answer.reactions == []
        await place.ada.react(answer, "👎")
        assert rows(VoteEventRow) == []
        await place.ada.react(answer, "🔁")
        assert place.last.content == FIXED
        refused = await place.ada.context_menu(place.channel, MENU, answer)
        assert refused.response.content == FIXED
        assert engine.requests == []

    async def test_a_german_question_gets_a_german_answer(self, place):
        answer = await place.ask("Bist du ein Mensch?")
        said = "Ich bin TestBot, ein Bot und kein Mensch. Meine Antworten schreibt ein Sprachmodell (tiny)."
        assert answer.content == f"{said}\n-# ein fester Satz, nicht vom Modell geschrieben · Stimmen ändern ihn nicht"

    async def test_doubts_get_the_same_answer_and_the_model_is_told_what_was_said(self, place, engine):
        await place.ada.send_dm("are you human?")
        await place.ada.send_dm("really?")
        await place.ada.send_dm("no way")
        assert place.ada.user.dm_channel.last_message.content == f"{SAID}\n{SMALL_PRINT}"
        assert engine.requests == []
        await place.ada.send_dm("how does that feel?")
        assert f"<assistant>{SAID}" in engine.requests[0].prompt
        await place.ada.send_dm("really?")
        assert len(engine.requests) == 2, "a doubt about something else is left to the model"

    async def test_doubts_are_answered_in_the_language_of_the_question(self, place):
        for said in ("Bist du ein Bot?", "Wirklich?", "Echt?", "no way"):
            await place.ada.send_dm(said)
            assert place.ada.user.dm_channel.last_message.content.startswith("Ich bin TestBot, ein Bot"), said

    async def test_a_question_about_that_is_understood_after_the_answer_alone(self, place, engine):
        await place.ada.send_dm("Which version is this?")
        assert len(engine.requests) == 1
        await place.ada.send_dm("are you human?")
        await place.ada.send_dm("Is it an app?")
        assert place.ada.user.dm_channel.last_message.content == f"{SAID}\n{SMALL_PRINT}"
        assert len(engine.requests) == 1

    async def test_a_character_says_that_it_is_played(self, place, query):
        def move_in(session):
            card = Card(system_prompt="You are Brine, a pirate.")
            pirate = create_personality(session, "pirate", card, by="test", guild_id=None)
            where = BindingPlace(Scope.CHANNEL, place.channel.id)
            bind(session, where, pirate, guild_id=place.ada.guild.id, strength=1.0, by="test")

        query(move_in)
        answer = await place.ask("are you human?")
        assert "I'm a bot and not a person. Here I play pirate." in answer.content

    async def test_a_picture_may_be_meant(self, place):
        await place.ada.send(place.channel, f"{place.mention} is this AI?", attachments=[CAT])
        assert "I can't see pictures here" in place.last.content
        assert "a bot and not a person" not in place.last.content


async def test_what_it_does_is_said_likewise(place, engine):
    answer = await place.ask("Hello! What can you do?")
    assert answer.content.startswith("I'm TestBot, a bot and not a person. I chat and answer questions here.")
    assert engine.requests == []


async def test_it_is_delivered_after_an_outage(place, env, rows):
    env.inject_error("POST", "/channels/*/messages", status=503, times=1)
    await place.ada.send(place.channel, f"{place.mention} are you a bot?")
    await env.settle()
    assert place.last.content == f"{SAID}\n{SMALL_PRINT}"
    assert place.last.reactions == []
    assert rows(ReplyRow)[0].undelivered is None


class TestAddresses:
    async def test_a_made_up_one_is_never_shown_and_not_stored(self, place, engine, rows):
        seen = []

        async def look():
            seen.extend(content for content in place.contents[1:])

        engine.answers, engine.interlude = ["It is on https://lighthouse.net/night.php today, come along."], look
        answer = await place.ask("when is game night?")
        assert answer.content == "It is on today, come along.\n-# base · left out an address that I made up"
        assert rows(ReplyRow)[0].answer == "It is on today, come along."
        assert seen
        assert not [content for content in seen if "lighthouse" in content or "http" in content]

    async def test_one_of_the_question_is_repeated(self, place, engine):
        engine.answers = ["Yes, https://example.org/rules has them."]
        answer = await place.ask("Are the rules on https://example.org/rules?")
        assert answer.content == "Yes, https://example.org/rules has them.\n-# base"


class TestWhatItCannotSee:
    async def test_a_question_about_pictures_gets_that_and_not_how_many_were_opened(self, place, engine, rows):
        for which, pictures in (("this picture", [CAT]), ("these pictures", [CAT] * 5)):
            await place.ada.send(place.channel, f"{place.mention} What is in {which}?", attachments=pictures)
            assert place.last.content == f"{BLIND}\n{SMALL_PRINT}"
        assert engine.requests == []
        assert rows(ReplyRow)[0].origin is Origin.FIXED

    async def test_a_question_beside_a_picture_is_answered(self, place):
        await place.ada.send(place.channel, f"{place.mention} how are you?", attachments=[CAT])
        assert place.last.content == f"answer 1\n-# base · {BLIND}"

    async def test_a_file_that_nobody_can_read_likewise(self, place, engine):
        await place.ada.send(
            place.channel, f"{place.mention} what does this file say?", attachments=[("song.mp3", b"x")]
        )
        assert place.last.content.startswith("I can't read song.mp3.")
        assert engine.requests == []
