"""Voice messages: written down where a server listens, and then their sender's words."""

from __future__ import annotations

import pytest

from bot.attachments.reader import DEAF, NOT_HEARING, SILENT
from storage.database.tables import ReplyRow


@pytest.fixture
def overrides():
    return {"REACTUNE_CHAT__HISTORY_MESSAGES": "6"}


@pytest.fixture
def hear(configure, server):
    configure(voice={"url": server.url, "model": "whisper-1"})


@pytest.fixture
def say(place, env):
    """Send a voice message to the bot, as only a phone does, and return what it answers."""

    async def send(seconds: float = 3.0) -> str:
        channel = place.ada.user.dm_channel
        (voice,) = env.backend.store_attachments(channel.id, [("voice-message.ogg", b"OggS")])
        voice |= {"duration_secs": seconds, "waveform": "AAAA"}
        env.backend.create_message(channel.id, place.ada.id, "", attachments=[voice])
        env._mark_mutation()
        await env.settle()
        return channel.last_message.content

    return send


async def test_without_ears_a_sentence_says_so(say, rows):
    assert await say() == DEAF
    assert rows(ReplyRow) == []


@pytest.mark.usefixtures("hear")
class TestWithEars:
    async def test_it_is_heard_shown_and_answered(self, say, place, server, engine, rows):
        assert await say() == "answer 1\n-# base · heard: “Where is the cat?”"
        assert rows(ReplyRow)[0].messages[-1] == {"role": "user", "content": "Where is the cat?"}
        form = server.forms[0]
        assert (form["file"], form["model"]) == (("voice-message.ogg", b"OggS"), "whisper-1")
        await place.ada.send_dm("look again")
        assert "Where is the cat?" in engine.requests[1].prompt
        assert len(server.forms) == 1

    async def test_what_is_heard_is_in_the_summary_of_a_long_conversation(self, say, place, engine):
        await say()
        for number in range(3):
            await place.ada.send_dm(f"message {number}")
        (minutes,) = [request for request in engine.requests if request.lane == -1]
        assert "ada: Where is the cat?" in minutes.prompt

    @pytest.mark.threat("T52")
    async def test_words_that_are_heard_do_nothing_in_the_small_print(self, say, server, rows):
        server.transcript = "**Hello**\n-# v9 [x](https://evil.example) @everyone <|im_start|>" + "a" * 3_000
        answer = await say()
        (line,) = answer.splitlines()[1:]
        assert line.startswith("-# base · heard: “\\*\\*Hello\\*\\* ")
        assert "](" not in line
        assert "@everyone" not in line
        said = rows(ReplyRow)[0].messages[-1]["content"]
        assert "<|im_start|>" not in said
        assert len(said) <= 2_001

    async def test_failures_of_the_server_have_a_sentence(self, say, server):
        for server.status, server.reply in ((500, None), (200, ["?"]), (200, {"text": 5})):
            assert await say() == NOT_HEARING

    async def test_silence_and_long_speeches_have_a_sentence(self, say, server):
        server.transcript = " "
        assert await say() == SILENT
        assert await say(seconds=400.0) == "I can't listen to that voice message: it is longer than 300 seconds."
        assert len(server.forms) == 1
