"""Members talk to the bot and see its answers; every answer has its row."""

from __future__ import annotations

import discord
import pytest
from sqlalchemy import update
from sqlalchemy.exc import OperationalError

from bot.chat.delivery import REACTION_PAUSES_S
from bot.chat.message_stream import CURSOR
from bot.engine import Finish, GenerationFailed
from storage.database.columns import utc_now
from storage.database.enums import Basis, Outcome
from storage.database.tables import ReplyMessageRow, ReplyRow, ReplySpeakerRow
from storage.privacy.erasure import delete_member
from storage.votes.votes import Vote

WARMING_UP = "I'm still warming up. I'll answer as soon as my model is loaded."


async def test_a_mention_is_answered_with_the_version_in_small_print(place, engine, rows):
    engine.answers = ["hello there"]
    answer = await place.ask("hi")
    assert answer.content == "hello there\n-# base"
    assert answer.reference is not None
    reply = rows(ReplyRow)[0]
    assert (reply.answer, reply.outcome, reply.version_id) == ("hello there", Outcome.COMPLETE, None)
    assert reply.basis is Basis.LOCAL
    assert reply.prompt == engine.requests[0].prompt
    assert reply.seed == engine.requests[0].seed
    assert reply.messages[-1] == {"role": "user", "content": "hi"}
    assert (reply.author_id, reply.channel_id, reply.guild_id) == (place.ada.id, place.channel.id, place.ada.guild.id)
    assert reply.base_revision == "0123456789abcdef"
    assert rows(ReplyMessageRow)[0].message_id == answer.id


async def test_an_answer_at_the_length_limit_says_how_to_go_on(place, engine):
    engine.answers, engine.finish = ["To be cont", "inued."], Finish.LENGTH
    answer = await place.ask("hi")
    assert answer.content == "To be cont\n-# base · stopped at the length limit · reply “go on” for the rest"
    await place.ada.send(place.channel, "go on", reply_to=answer)
    assert "To be cont" in engine.requests[-1].prompt


async def test_the_bot_is_typing_before_it_reads_what_was_said_earlier(env, place):
    await place.ada.send_dm("first")
    before = len(env.http_requests)
    await place.ada.send_dm("second")
    asked = [(one.method, one.path.rpartition("/")[2]) for one in env.http_requests[before:]]
    assert asked[:2] == [("POST", "typing"), ("GET", "messages")]


async def test_a_reply_to_the_bot_continues_the_conversation(place, engine):
    answer = await place.ask("what is red?")
    await place.bo.send(place.channel, "and blue?", reply_to=answer)
    prompt = engine.requests[1].prompt
    assert "ada: what is red?" in prompt
    assert "answer 1" in prompt
    assert "bo: and blue?" in prompt
    assert "-# base" not in prompt


async def test_direct_messages_are_answered_and_remembered(place, engine):
    await place.ada.send_dm("first")
    await place.ada.send_dm("second")
    assert "first" in engine.requests[1].prompt
    assert place.ada.user.dm_channel.last_message.content == "answer 2\n-# base"


async def test_consecutive_messages_of_one_person_merge(place, engine):
    engine.full = True
    await place.ada.send_dm("one")
    engine.full = False
    await place.ada.send_dm("two")
    assert "one\ntwo" in engine.requests[0].prompt


async def test_a_thread_it_was_called_into_needs_no_further_mention(place, engine):
    started = await place.ada.send(place.channel, "let us talk")
    handle = await place.open_thread(started)
    await place.ada.send(handle, "not for the bot")
    assert engine.requests == []
    await place.ada.send(handle, f"{place.mention} come in")
    await place.bo.send(handle, "what do you think?")
    assert len(engine.requests) == 2
    assert "bo: what do you think?" in engine.requests[1].prompt


async def test_a_mention_without_words_gets_a_hint(place, engine):
    answer = await place.ask("")
    assert "I don't see a question" in answer.content
    assert engine.requests == []


async def test_unusual_messages_are_answered(place):
    for text in ("🙂🙂🙂", "مرحبا كيف حالك", "x" * 1_900, "**bold** `code` <tag> \\n", "\u200b"):
        assert (await place.ask(text)).content.endswith("-# base")


async def test_nobody_is_pinged_whatever_the_model_says(place, engine, env):
    engine.answers = [f"@everyone <@&{place.ada.guild.id}> <@{place.bo.id}> wake up"]
    answer = await place.ask("ping all")
    stored = env.backend.get_message(place.channel.id, answer.id)
    assert stored.ping_user_ids == []
    assert stored.ping_role_ids == []
    assert not stored.mention_everyone


async def test_a_long_answer_spans_messages_and_is_one_reply(place, engine, rows):
    engine.answers = [f"{'word' * 9} " * 135]
    await place.ask("tell me more")
    own = [m for m in place.channel.history() if m.author.bot]
    assert len(own) == 3
    assert all(len(message.content) <= 2_000 for message in own)
    assert own[-1].content.endswith("-# base")
    assert {row.reply_id for row in rows(ReplyMessageRow)} == {rows(ReplyRow)[0].id}
    assert len(rows(ReplyMessageRow)) == 3


async def test_a_table_is_shown_as_columns_and_stored_as_written(place, engine, rows):
    engine.answers = ["| a | b |\n|---|---|\n| 1 | 2 |"]
    answer = await place.ask("what is what?")
    assert answer.content == "```\na  b\n-  -\n1  2\n```\n-# base"
    assert rows(ReplyRow)[0].answer == "| a | b |\n|---|---|\n| 1 | 2 |"


async def test_code_and_spoilers_are_closed_at_every_moment_of_a_growing_answer(place, engine):
    seen = []

    async def look():
        seen.append(place.last.content)

    engine.interlude = look
    engine.answers = ["Look:\n```py\nx = 1\n``` and ||the secret word|| is it"]
    await place.ask("who is it?")
    assert "Look:\n```py\nx =\n``` ▌" in seen
    assert any("||the secret||" in content for content in seen)
    assert all(content.count("```") % 2 == content.count("||") % 2 == 0 for content in seen)


async def test_the_oldest_turns_drop_first_and_the_answer_says_so(place, engine):
    engine.window = 32
    for number in range(6):
        await place.ada.send_dm(f"message {number} " + "word " * 4)
    assert "message 5" in engine.requests[-1].prompt
    assert "message 0" not in engine.requests[-1].prompt
    assert "did not fit" in place.ada.user.dm_channel.last_message.content


async def test_an_enormous_message_loses_its_middle_and_the_answer_says_so(place, engine):
    engine.window = 60
    answer = await place.ask("start " + "middle " * 200 + "end")
    assert "the middle of your message did not fit" in answer.content
    assert "start" in engine.requests[0].prompt
    assert "end" in engine.requests[0].prompt


async def test_a_full_queue_is_refused_politely(place, engine, rows):
    engine.full = True
    answer = await place.ask("hi")
    assert answer.content.startswith("I'm busy")
    assert rows(ReplyRow) == []


async def test_a_question_while_the_model_loads_gets_a_sign_of_life(place, env):
    env.bot.services.model_loaded.clear()
    await place.ask("hi")
    await place.ask("hello?")
    assert place.contents.count(WARMING_UP) == 1  # one for each member within half a minute
    env.bot.services.model_loaded.set()
    await place.ask("hi", who=place.bo)
    assert place.contents.count(WARMING_UP) == 1


class TestCooldown:
    @pytest.fixture
    def overrides(self):
        return {"REACTUNE_CHAT__COOLDOWN_S": "60"}

    async def test_a_member_in_cooldown_is_asked_to_wait_and_others_are_not(self, place):
        await place.ask("one")
        before = len(place.env.http_requests)
        refused = await place.ask("two")
        assert "You can ask me again in" in refused.content
        assert not any(one.path.endswith("/typing") for one in place.env.http_requests[before:])
        assert (await place.ask("three", who=place.bo)).content.startswith("answer 2")


async def test_an_answer_that_takes_too_long_says_so(place, engine, rows):
    for finish, note in ((Finish.TIMEOUT, "ran out of time"), (Finish.THOUGHT, "thought too long to answer")):
        engine.finish, engine.answers = finish, [""]
        answer = await place.ask("hi")
        assert answer.content.startswith("Sorry, that took too long")
        assert answer.content.endswith(f"-# base · {note}")
        assert rows(ReplyRow)[-1].outcome is Outcome.TIMEOUT
        assert answer.reactions == []


async def test_a_failing_engine_gives_a_sentence_and_an_unforeseen_error_a_reference(place, engine, rows):
    for failure, said in (
        (GenerationFailed("secret detail"), "Sorry, something went wrong"),
        (RuntimeError("secret detail"), "reference: `"),
    ):
        engine.failure = failure
        answer = await place.ask("hi")
        assert said in answer.content
        assert "secret" not in answer.content
    assert rows(ReplyRow)[0].outcome is Outcome.FAILED


async def test_an_answer_deleted_while_it_streams_is_given_up(place, engine, rows, env):
    async def delete_it() -> None:
        own = [m for m in env.backend.messages[place.channel.id].values() if m.author_id == env.bot.user.id]
        if own:
            env.backend.delete_message(place.channel.id, own[-1].id)

    engine.answers = ["one two three four"]
    engine.interlude = delete_it
    await place.ada.send(place.channel, f"{place.mention} hi")
    assert all(not m.author.bot for m in place.channel.history())
    assert rows(ReplyRow) == []  # what is deleted on Discord is deleted here


@pytest.mark.parametrize("answer", [" of one message", f"of {'several' * 9} " * 40], ids=["first", "later"])
async def test_data_deleted_while_the_answer_is_made_leaves_the_answer_and_no_row(place, engine, rows, query, answer):
    async def delete() -> None:
        engine.interlude = None
        query(lambda session: delete_member(session, place.ada.id))

    engine.answers, engine.interlude = [answer], delete
    said = await place.ask("hi")
    assert said.content.endswith("-# base")
    assert rows(ReplyRow) == rows(ReplyMessageRow) == []


async def test_a_question_deleted_before_the_answer_is_neither_answered_nor_kept(place, env, rows):
    question = env.backend.create_message(place.channel.id, place.ada.id, f"{place.mention} hi")
    env.backend.delete_message(place.channel.id, question.id)
    await env.settle()
    assert ["has just been deleted" in content for content in place.contents] == [True]
    assert rows(ReplyRow) == []


async def test_trouble_while_editing_does_not_lose_the_answer(place, engine, env):
    for status in (500, 502):
        engine.answers = ["one two three"]
        env.inject_error("PATCH", "/channels/*/messages/*", status=status, times=1)
        answer = await place.ask("hi")
        assert answer.content == "one two three\n-# base"


async def test_a_channel_where_the_bot_may_not_write_is_left_in_peace(place, env, rows):
    env.inject_error("POST", "/channels/*/messages", status=403, code=50013, times=None)
    await place.ada.send(place.channel, f"{place.mention} hi")
    assert place.contents == [f"{place.mention} hi"]
    assert rows(ReplyRow)[0].outcome is Outcome.FAILED


async def test_reactions_that_discord_has_trouble_with_come_later(place, env, votes):
    env.inject_error("PUT", "/channels/*/messages/*/reactions/%F0%9F%91%8E/@me", status=500, times=2)
    answer = await place.ask("hi")
    assert [str(reaction.emoji) for reaction in answer.reactions] == ["👍"]
    for pause_s in REACTION_PAUSES_S[:2]:
        await env.advance_time(pause_s)
    assert [str(reaction.emoji) for reaction in place.last.reactions] == ["👍", "👎", "🔁"]
    await place.ada.react(place.last, "👎")
    assert votes(1) == {place.ada.id: Vote.DOWN}


async def test_an_answer_stays_when_reactions_are_refused(place, env):
    for number, status in enumerate((403, 404, 500), start=1):
        env.backend.faults.clear()
        env.inject_error("PUT", "/channels/*/messages/*/reactions/*", status=status, times=None)
        answer = await place.ask("hi")
        assert answer.content == f"answer {number}\n-# base"


class TestAnotherAnswer:
    async def test_the_seeded_reaction_gives_a_sibling_with_the_same_prompt(self, place, engine, rows):
        answer = await place.ask("hi")
        await place.bo.react(answer, "🔁")
        assert place.last.content == "answer 2\n-# base"
        first, second = rows(ReplyRow)
        assert first.prompt == second.prompt
        assert engine.requests[0].prompt == engine.requests[1].prompt
        assert engine.requests[0].seed != engine.requests[1].seed
        assert second.author_id == place.bo.id

    async def test_the_message_menu_does_the_same_and_refuses_privately(self, place, query, rows):
        answer = await place.ask("hi")
        result = await place.bo.context_menu(place.channel, "Another answer", answer)
        assert result.ephemeral
        assert place.last.content == "answer 2\n-# base"
        assert len({row.prompt for row in rows(ReplyRow)}) == 1
        query(lambda session: session.execute(update(ReplyRow).values(edited_at=utc_now())))
        result = await place.bo.context_menu(place.channel, "Another answer", answer)
        assert "edited since" in result.response.content
        assert place.last.content == "answer 2\n-# base"

    async def test_while_the_database_is_unreachable_the_reaction_gets_a_notice(self, place, monkeypatch):
        answer = await place.ask("hi")

        def fail(*_args):
            raise OperationalError("", None, Exception("away"))

        monkeypatch.setattr("bot.cogs.chat.find_by_message", fail)
        await place.bo.react(answer, "🔁")
        assert "I can't reach my database" in place.last.content

    async def test_only_answers_can_be_asked_again(self, place, engine):
        message = await place.ada.send(place.channel, "just talking")
        await place.ada.react(message, "🔁")
        result = await place.ada.context_menu(place.channel, "Another answer", message)
        assert "isn't one of my answers" in result.response.content
        assert engine.requests == []

    async def test_there_is_an_end_to_it(self, place, engine):
        answer = await place.ask("hi")
        for _ in range(7):
            await place.ada.react(answer, "🔁")
            await place.ada.unreact(answer, "🔁")
        assert len(engine.requests) == 6
        assert "that is the most I give" in place.last.content

    async def test_the_conversation_continues_from_the_latest_sibling(self, place, engine):
        await place.ada.send_dm("hi")
        dm = place.ada.user.dm_channel
        await place.ada.user.set_reaction(dm.last_message, "🔁", reacted=True)
        await place.ada.send_dm("go on")
        assert "answer 2" in engine.requests[-1].prompt
        assert "answer 1" not in engine.requests[-1].prompt


async def test_two_people_at_once_get_their_own_answers(place, env, rows):
    env.backend.create_message(place.channel.id, place.bo.id, f"{place.mention} second")
    await place.ada.send(place.channel, f"{place.mention} first")
    assert len(rows(ReplyRow)) == 2
    asked = {m.reference.message_id for m in place.channel.history() if m.author.bot}
    assert asked == {m.id for m in place.channel.history() if not m.author.bot}


async def test_other_bots_and_webhooks_are_not_answered(place, env, engine):
    robot = env.guild.add_member(env.create_user("robot", bot=True))
    await robot.send(place.channel, f"{place.mention} hi")
    assert engine.requests == []


def test_the_client_never_parses_mentions_by_default(new_bot):
    mentions = new_bot().allowed_mentions
    assert mentions.to_dict() == discord.AllowedMentions.none().to_dict()


class TestWordsAndSilence:
    async def test_a_post_without_words_does_not_answer_an_old_question_again(self, place, engine, env):
        await place.ada.send_dm("first")
        env.backend.create_message(
            place.ada.user.dm_channel.id, place.ada.id, "", embeds=[{"title": "a cat", "type": "rich"}]
        )
        await env.settle()
        assert len(engine.requests) == 1
        assert "I don't see a question" in place.ada.user.dm_channel.last_message.content

    async def test_where_every_message_is_answered_words_need_no_mention_and_a_picture_gets_nothing(
        self, place, env, settings
    ):
        free = env.guild.create_text_channel("free")
        chat = settings.chat.model_copy(update={"channel_rules": {free.id: "always"}})
        env.change_settings(settings.model_copy(update={"chat": chat}))
        await place.ada.send(free, "", attachments=[("cat.png", b"x")])
        assert len(free.history()) == 1
        await place.ada.send(free, "hello")
        assert free.last_message.content == "answer 1\n-# base"

    async def test_a_bare_mention_under_somebodys_words_answers_those(self, place, engine):
        words = await place.bo.send(place.channel, "why is the sky blue?")
        await place.ada.send(place.channel, place.mention, reply_to=words)
        assert "why is the sky blue?" in engine.requests[0].prompt

    async def test_any_display_name_can_be_mentioned(self, place, env, engine):
        for name in ("\\o/", "a|b", "(x", "\\g<0>"):
            friend = env.guild.add_member(env.create_user("friend", global_name=name))
            await place.ask(f"who is <@{friend.id}>?")
            assert f"who is @{name}?" in engine.requests[-1].prompt


async def test_the_asker_of_a_quoted_answer_is_a_speaker_too(place, env, rows):
    answer = await place.ask("my town is small")
    await place.bo.send(place.channel, "where does she live?", reply_to=answer)
    del env.backend.messages[place.channel.id][place.channel.history()[0].id]  # without a word of it
    await place.bo.send(place.channel, "and now?", reply_to=answer)
    speakers = {row.user_id for row in rows(ReplySpeakerRow) if row.reply_id == 3}
    assert speakers == {place.ada.id, place.bo.id}


async def test_an_answer_of_another_base_model_is_asked_again_in_the_words_of_this_one(place, engine, query, rows):
    answer = await place.ask("hi")
    old = {"base_revision": "f" * 16, "prompt": "[user] hi"}
    query(lambda session: session.execute(update(ReplyRow).values(**old)))
    for _ in range(4):
        await place.bo.react(answer, "🔁")
        await place.bo.unreact(answer, "🔁")
    first, *others = engine.requests
    assert {again.prompt for again in others} == {first.prompt}
    assert len({row.base_revision for row in rows(ReplyRow)}) == 2


async def test_a_question_that_does_not_fit_this_base_model_says_so(place, query, rows):
    answer = await place.ask("hi")
    system_prompt_only = [{"role": "system", "content": "Be kind."}]
    old = {"base_revision": "f" * 16, "messages": system_prompt_only}
    query(lambda session: session.execute(update(ReplyRow).values(**old)))
    await place.bo.react(answer, "🔁")
    assert "That message is too long for me, even shortened." in place.channel.last_message.content
    assert len(rows(ReplyRow)) == 1


async def test_a_command_sent_as_words_is_not_answered_by_the_model_and_other_words_with_a_slash_are(
    place, engine, rows
):
    for text in ("/version promote v1", "/suggest", "/privacy"):
        assert "not as a command" in (await place.ask(text)).content
    assert engine.requests == []
    assert rows(ReplyRow) == []
    await place.ask("/shrug what now?")
    assert len(engine.requests) == 1


async def test_a_message_that_seemed_not_to_be_sent_is_sent_under_the_same_nonce(place, env, rows):
    env.inject_error("POST", "/channels/*/messages", status=503, times=1)
    await place.ask("hi")
    sent = [r.json for r in env.http_requests if r.method == "POST" and r.path.endswith("/messages")]
    assert len(sent) == 2
    assert sent[0]["nonce"] == sent[1]["nonce"]
    assert len(rows(ReplyMessageRow)) == 1


class TestKilled:
    """What a bot that was killed in the middle of an answer left behind."""

    async def test_a_message_sent_without_its_row_is_taken_up_with_its_votes(self, place, kill, rows, votes, env):
        answer = await place.ask("hi")
        await place.bo.send(place.channel, "what was that?")
        await place.bo.react(answer, "👍")
        await kill(answer)
        assert [(row.message_id, row.reply_id) for row in rows(ReplyMessageRow)] == [(answer.id, 1)]
        assert votes(1) == {place.bo.id: Vote.UP}
        assert "interrupted by a restart" in env.backend.get_message(place.channel.id, answer.id).content

    async def test_a_further_part_without_its_row_is_taken_up(self, place, engine, kill, rows, votes, env):
        engine.answers = [f"{'word' * 9} " * 67]
        second = await place.ask("a long story")
        env.backend.edit_message(place.channel.id, second.id, {"content": f"word word{CURSOR}"})
        await place.bo.react(second, "👎")
        await kill(second)
        assert [(row.message_id, row.position) for row in rows(ReplyMessageRow)][1:] == [(second.id, 1)]
        assert votes(1) == {place.bo.id: Vote.DOWN}

    async def test_a_question_whose_answer_never_began_gets_a_sentence(self, place, kill, rows, env):
        answer = await place.ask("hi")
        question = answer.reference.message_id
        env.backend.delete_message(place.channel.id, answer.id)
        await kill(answer)
        assert "interrupted by a restart" in place.last.content
        assert place.last.reference.message_id == question
        assert [row.message_id for row in rows(ReplyMessageRow)] == [place.last.id]


class TestDatabaseAway:
    async def test_rows_are_written_when_it_is_back_and_their_votes_too(
        self, place, engine, rows, votes, lock_database
    ):
        async def go_away():
            engine.interlude = None
            lock_database()

        engine.answers, engine.interlude = ["hello there"], go_away
        answer = await place.ask("hi")
        await place.bo.react(answer, "👍")
        assert answer.content == "hello there\n-# base"
        assert [(row.answer, row.outcome) for row in rows(ReplyRow)] == [("hello there", Outcome.COMPLETE)]
        assert votes(1) == {place.bo.id: Vote.UP}

    async def test_a_member_reads_that_it_is_away(self, place, rows, lock_database):
        lock_database()
        await place.ada.send(place.channel, f"{place.mention} hi")
        assert "I can't reach my database right now" in place.last.content
        assert rows(ReplyRow) == []
