"""Threads that the bot opens for a conversation with it: by `/thread`, or from the message that called it."""

from __future__ import annotations

import logging

import discord
import pytest

from bot.chat.own_threads import NAME_CHARS, UNNAMED, thread_name
from storage.conversations.summaries import read_memory
from storage.database.tables import MemberNoteRow, ReplyMessageRow, ReplyRow, VoteEventRow
from storage.personalities.personalities import ensure_personality, read_personality
from storage.servers import ServerChoices, apply_setup


@pytest.fixture
def choose(env, place, query):
    """Store choices of the server, as `/setup` does."""

    async def apply(**choices):
        def write(session):
            guild_id, default = place.channel.guild.id, read_personality(session, ensure_personality(session))
            wanted = ServerChoices(**choices)
            apply_setup(session, guild_id, wanted, default, expected_generation=0, by="test")

        query(write)
        await env.bot.services.setups.load()

    return apply


@pytest.fixture
def own_threads(choose):
    """Let each conversation have a thread of its own."""
    return lambda: choose(threads_everywhere=True)


@pytest.fixture
async def thread(place, own_threads):
    """The thread in which ada's first question is answered."""
    await own_threads()
    await place.ada.send(place.channel, f"{place.mention} what is red?")
    (thread,) = place.channel.threads
    return thread


@pytest.fixture
def unmanaged(place):
    """Return a channel whose threads the bot does not manage."""
    guild = place.channel.guild
    lacking = {guild.default_role: discord.PermissionOverwrite(manage_threads=False)}
    return guild.create_text_channel("unmanaged", overwrites=lacking)


async def test_a_call_in_a_channel_is_answered_in_a_thread_and_goes_on_there(place, thread, engine, rows):
    assert thread.name == "what is red?"
    assert thread.last_message.content == "answer 1\n-# base"
    typing = [one.path for one in place.env.http_requests if one.path.endswith("/typing")]
    assert typing == [f"/channels/{where.id}/typing" for where in (place.channel, thread)]
    await place.ada.send(thread, "and blue?")
    assert "what is red?" in engine.requests[1].prompt
    assert "answer 1" in engine.requests[1].prompt
    answer = thread.last_message
    await place.bo.react(answer, "👍")
    await place.bo.react(answer, "🔁")
    assert len(engine.requests) == 3
    assert engine.requests[2].prompt == engine.requests[1].prompt
    assert {row.channel_id for row in rows(ReplyRow)} == {thread.id}
    assert [row.user_id for row in rows(VoteEventRow)] == [place.bo.id]


async def test_its_first_answer_has_another_one_too(place, thread, engine):
    await place.ada.react(thread.last_message, "🔁")
    assert len(engine.requests) == 2
    assert thread.last_message.content == "answer 2\n-# base"


async def test_whether_to_remember_something_is_asked_there(place, own_threads, rows):
    await own_threads()
    await place.ada.send(place.channel, f"{place.mention} I keep bees")
    (thread,) = place.channel.threads
    assert "Remember that you keep bees?" in thread.last_message.content
    assert not any("Remember" in content for content in place.contents)
    await place.ada.click(thread.last_message, label="Yes")
    assert [row.text for row in rows(MemberNoteRow)] == ["I keep bees"]


async def test_deleting_the_question_removes_its_answer_and_the_thread_lives_on(place, thread, engine, rows):
    await place.ada.send(thread, "and blue?")
    await place.ada.delete(place.channel.history()[0])
    assert rows(ReplyRow) == []  # both prompts held the question
    await place.ada.send(thread, "and green?")
    assert "what is red?" not in engine.requests[-1].prompt
    assert len(rows(ReplyRow)) == 1


async def test_only_whoever_it_was_opened_for_may_start_it_over(place, thread, query):
    refused = await place.bo.slash(thread, "reset")
    assert "Only admins can do this here" in refused.response.content
    await place.ada.slash(thread, "reset")
    assert query(lambda session: read_memory(session, thread.id)).forgotten_to > 0


async def test_without_a_permission_it_answers_in_the_channel_and_names_it(place, choose):
    guild = place.channel.guild
    lacking = ("create_public_threads", "send_messages_in_threads")
    channels = [
        guild.create_text_channel(lacks, overwrites={guild.default_role: discord.PermissionOverwrite(**{lacks: False})})
        for lacks in lacking
    ]
    await choose(thread_channels=[channel.id for channel in channels])
    for channel, name in zip(channels, ("Create Public Threads", "Send Messages in Threads"), strict=True):
        await place.ada.send(channel, f"{place.mention} what is red?")
        assert channel.threads == []
        assert channel.last_message.content.endswith(f"\n-# base · for a thread of its own I need {name} here")


async def test_where_discord_refuses_a_thread_it_answers_in_the_channel(place, env, own_threads, caplog):
    await own_threads()
    route = f"/channels/{place.channel.id}/messages/*/threads"
    for code, why in ((160006, "the server has as many open threads as Discord allows"), (30033, "Discord refused it")):
        env.inject_error("POST", route, status=400, code=code, message="no")
        with caplog.at_level(logging.WARNING):
            await place.ada.send(place.channel, f"{place.mention} what is red?")
        assert place.channel.threads == []
        assert place.last.content.endswith(f"\n-# base · not in a thread of its own: {why}")
        assert "No thread could be made" in caplog.text
        caplog.clear()


@pytest.mark.parametrize("is_locked", [False, True])
async def test_a_thread_that_somebody_made_first_is_used_unless_it_is_locked(
    place, env, own_threads, engine, unmanaged, monkeypatch, is_locked
):
    await own_threads()
    render, channel = engine.render, unmanaged

    async def meanwhile(messages):
        if not channel.threads:
            env.backend.create_thread(channel.id, "t", place.bo.id, message_id=channel.last_message.id)
            env.backend.edit_channel(channel.threads[0].id, {}, thread_metadata={"locked": is_locked})
        return await render(messages)

    monkeypatch.setattr(engine, "render", meanwhile)
    route = f"/channels/{channel.id}/messages/*/threads"
    env.inject_error("POST", route, status=400, code=160004, message="A thread has already been created")
    await place.ada.send(channel, f"{place.mention} what is red?")
    (thread,) = channel.threads
    if is_locked:
        assert channel.last_message.content == "answer 1\n-# base · not in a thread of its own: that one is locked"
    else:
        assert thread.last_message.content == "answer 1\n-# base"


async def test_in_a_locked_thread_nobody_is_answered(place, env, own_threads, engine, unmanaged):
    await own_threads()
    await place.ada.send(unmanaged, f"{place.mention} what is red?")
    (thread,) = unmanaged.threads
    env.backend.edit_channel(thread.id, {}, thread_metadata={"locked": True})
    await env.settle()
    for text in ("and blue?", f"{place.mention} and green?"):
        await place.grace.send(thread, text)
    assert len(engine.requests) == 1
    assert len(thread.history()) == 3


async def test_threads_and_direct_messages_get_none(place, env, own_threads, engine):
    await own_threads()
    env.backend.create_thread(place.channel.id, "talk", place.ada.id)
    (thread,) = place.channel.threads
    await place.ada.send(thread, f"{place.mention} hello")
    assert thread.last_message.content == "answer 1\n-# base"
    await place.ada.send_dm("hello")
    assert len(engine.requests) == 2
    assert len(place.channel.threads) == 1


async def test_after_a_restart_the_thread_is_still_the_bots(place, thread, restart, engine):
    await restart()
    await place.bo.send(thread, "and blue?")
    assert len(engine.requests) == 2


async def test_an_answer_that_a_killed_bot_did_not_record_is_found_in_its_thread(place, thread, kill, rows):
    answer = thread.last_message
    await kill(answer)
    assert [row.message_id for row in rows(ReplyMessageRow)] == [answer.id]
    assert [message.id for message in thread.history() if message.author.bot] == [answer.id]


class TestAfterAGap:
    @pytest.fixture
    def fixed_basis(self):
        return None

    async def test_the_question_is_looked_for_in_its_channel(self, place, env, thread, restart, rows):
        question = place.channel.history()[0]
        await restart()
        await env.settle()
        assert len(rows(ReplyRow)) == 1
        feed = env._gateway_feed
        env.backend.subscribers.remove(feed)
        env.backend.delete_message(place.channel.id, question.id)
        env.backend.subscribers.append(feed)
        await restart()
        await env.settle()
        assert rows(ReplyRow) == []
        await place.ada.send(thread, "and blue?")
        assert len(rows(ReplyRow)) == 1


class TestThread:
    async def test_it_opens_one_in_which_no_mention_is_needed(self, place, choose):
        await choose(elsewhere="mention")
        result = await place.ada.slash(place.channel, "thread", topic="Bees @everyone")
        (thread,) = place.channel.threads
        assert thread.name == "Bees @ everyone"
        assert result.followups[-1].content == f"Here it is: {thread.mention}"
        assert "without a mention" in thread.last_message.content
        await place.ada.send(thread, "why do they hum?")
        assert thread.last_message.content == "answer 1\n-# base"
        await place.ada.slash(thread, "reset")

    async def test_without_a_topic_its_name_is_in_the_servers_language(self, env):
        german = env.create_guild("Verein", preferred_locale="de")
        channel = german.create_text_channel("allgemein")
        cleo = german.add_member(env.create_user("cleo"))
        await cleo.slash(channel, "thread")
        assert channel.threads[0].name.startswith("cleo und ")

    @pytest.mark.threat("T6")
    async def test_a_member_who_may_open_no_threads_gets_none(self, place):
        guild = place.channel.guild
        lacking = {guild.default_role: discord.PermissionOverwrite(create_public_threads=False)}
        channel = guild.create_text_channel("closed", overwrites=lacking)
        result = await place.ada.slash(channel, "thread")
        assert result.response.content.startswith("You may not open threads in this channel")
        assert channel.threads == []

    async def test_where_the_bot_is_silent_or_there_are_no_threads_it_says_so(self, place, choose):
        await place.ada.slash(place.channel, "thread")
        (thread,) = place.channel.threads
        inside = await place.ada.slash(thread, "thread")
        assert inside.response.content.startswith("There are no threads here.")
        await choose(elsewhere="never")
        silent = await place.ada.slash(place.channel, "thread")
        assert silent.response.content == "I'm not enabled in this channel."

    async def test_a_refusal_of_discord_leaves_nothing_behind(self, place, env):
        route = f"/channels/{place.channel.id}/messages/*/threads"
        env.inject_error("POST", route, status=400, code=160006, message="no")
        result = await place.ada.slash(place.channel, "thread")
        assert "as many open threads as Discord allows" in result.followups[-1].content
        assert place.channel.history() == []

    async def test_a_thread_in_which_it_can_write_nothing_is_gone_again_or_closed(self, place, env, unmanaged):
        for channel in (place.channel, unmanaged):
            env.inject_error("POST", "/channels/*/messages", status=400, code=30033, message="no")
            result = await place.ada.slash(channel, "thread")
            assert result.followups[-1].content == "I can't open a thread here: Discord refused it."
            assert not any("🧵" in message.content for message in channel.history())
        assert place.channel.threads == []
        (closed,) = unmanaged.threads
        assert env.bot.get_channel(closed.id) is None, "discord.py keeps no archived threads"


@pytest.mark.parametrize(
    ("words", "name"),
    [
        ("what is red?", "what is red?"),
        ("  two\nlines ", "two lines"),
        ("\u200b", UNNAMED),
        ("join discord.gg/abc now", "join (invite removed) now"),
        ("x" * 200, "x" * (NAME_CHARS - 1) + "…"),
    ],
)
def test_a_thread_is_named_after_the_question(words, name):
    assert thread_name(words) == name
