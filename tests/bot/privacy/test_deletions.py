"""Messages deleted on Discord are deleted here, and the old text of edited ones is no longer used."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest
from sqlalchemy import select

from bot.cogs.deletions import RECHECK_PAUSE_S
from bot.discord_errors import RATE_LIMIT_PAUSE_S
from storage.database.enums import Basis
from storage.database.rows import count_rows
from storage.database.tables import (
    ChunkRow,
    ConversationRow,
    DocumentRow,
    DocumentSourceRow,
    ReplyMessageRow,
    ReplyRow,
    ReplySourceRow,
    VoteEventRow,
)
from storage.privacy.consent import give_consent
from storage.votes.votes import Vote
from tests.bot.environment import Env, changed
from tests.word_encoder import WordEncoder


@pytest.fixture
def overrides():
    return {"REACTUNE_CHAT__HISTORY_MESSAGES": "6"}


@pytest.fixture
def fixed_basis():
    return None


def catch_up(env):
    """Move the simulated clock to now, so that an edit is later than the answer before it."""
    env.backend.advance_clock(max(0.0, (datetime.now(UTC) - env.backend.clock.now()).total_seconds()) + 1)


async def question_of(place, text, **more):
    """Send a mention and return it."""
    return await place.ada.send(place.channel, f"{place.mention} {text}", **more)


def ids(found):
    return [row.id for row in found]


class TestDeletions:
    async def test_a_deleted_question_deletes_its_answer_and_votes(self, place, rows):
        asked = await question_of(place, "my secret is tea")
        await place.bo.react(place.last, "👍")
        await place.ask("something else")
        await place.ada.delete(asked)
        assert ids(rows(ReplyRow)) == [2]
        assert rows(VoteEventRow) == []
        assert not any("tea" in row.prompt for row in rows(ReplyRow))

    async def test_it_goes_from_later_prompts_that_held_it_as_history(self, place, rows):
        asked = await question_of(place, "my secret is tea")
        await place.bo.send(place.channel, "and?", reply_to=place.last)
        await place.ask("something else")
        assert sorted({row.reply_id for row in rows(ReplySourceRow) if row.message_id == asked.id}) == [1, 2]
        await place.ada.delete(asked)
        assert ids(rows(ReplyRow)) == [3]

    async def test_deleting_any_message_of_an_answer_deletes_it(self, place, engine, rows):
        engine.answers = [" ".join(["word" * 225] * 3)]
        await place.ask("long please")
        first, _ = (m for m in place.channel.history() if m.author.bot and "Hello" not in m.content)
        await place.grace.send(place.channel, "go on", reply_to=first)
        await place.ask("something else")
        assert ids(rows(ReplyRow)) == [1, 2, 3]
        place.env.backend.delete_message(place.channel.id, first.id)
        await place.env.settle()
        assert ids(rows(ReplyRow)) == [3]

    async def test_many_deleted_at_once_and_no_other_answer(self, place, env, rows, votes):
        noise = await place.bo.send(place.channel, "just talking")
        asked = [await question_of(place, text) for text in ("one", "two", "three")]
        await place.bo.react(place.last, "👍")
        env.backend.bulk_delete_messages(place.channel.id, [noise.id, *[message.id for message in asked[:2]]])
        await env.settle()
        assert ids(rows(ReplyRow)) == [3]
        assert votes(3) == {place.bo.id: Vote.UP}

    async def test_a_message_that_the_bot_takes_back_itself_deletes_nothing(self, place, engine, rows):
        """A message that a growing answer only needed until its table was one."""
        engine.answers = [f"| name | age |\n|{'-' * 1900}|---|\n| Ada | 36 |"]
        await place.ask("hi")
        assert "DELETE /channels" in place.env.transcript()
        assert ids(rows(ReplyRow)) == [1]
        shown = [m.id for m in place.channel.history() if m.author.bot and "Hello" not in m.content]
        assert [row.message_id for row in rows(ReplyMessageRow)] == shown

    async def test_a_deleted_channel_and_a_deleted_thread(self, place, env, rows):
        other = place.channel.guild.create_text_channel("other")
        await place.ada.send(other, f"{place.mention} hi")
        await place.ask("stays")
        env.backend.delete_channel(other.id)
        await env.settle()
        assert [row.channel_id for row in rows(ReplyRow)] == [place.channel.id]

    async def test_an_archived_thread_goes_with_its_channel(self, place, env, rows):
        """Discord tells of the channel alone."""
        other = place.channel.guild.create_text_channel("other")
        threads = []
        for channel in (other, place.channel):
            started = await place.ada.send(channel, "let us talk")
            env.backend.create_thread(channel.id, "t", place.ada.id, message_id=started.id)
            await env.settle()
            await place.ada.send(channel.threads[0], f"{place.mention} my secret is tea")
            await env.bot.get_channel(started.id).edit(archived=True)
            threads.append(started.id)
        gone, stays = threads
        assert [row.channel_id for row in rows(ReplyRow)] == threads
        with env.gap():
            env.backend.delete_channel(gone)
        env.backend.delete_channel(other.id)
        await env.settle()
        assert [row.channel_id for row in rows(ReplyRow)] == [stays]

    async def test_deleting_a_message_resets_its_summary_and_deletes_answers(self, place, rows):
        said = [await place.ada.send_dm(f"message {number}") for number in range(4)]
        await place.ada.send_dm("and now?")  # its prompt tells of the first messages
        told = rows(ReplyRow)[-1]
        assert told.summary_from == said[0].id
        before = rows(ConversationRow)[0]
        assert before.summary
        await place.ada.user.delete(said[0])
        (after,) = rows(ConversationRow)
        assert (after.summary, after.forgotten_to) == ("", before.summarised_to)
        assert told.id not in ids(rows(ReplyRow))
        await place.ada.send_dm("go on")
        assert "message 0" not in rows(ReplyRow)[-1].prompt

    async def test_a_question_deleted_while_it_is_answered_is_not_stored(self, place, engine, env, rows):
        asked = await question_of(place, "one")
        answer = place.last

        async def delete():
            engine.interlude = None
            env.backend.delete_message(place.channel.id, asked.id)

        engine.interlude = delete
        await place.bo.send(place.channel, "two", reply_to=answer)
        await env.settle()
        assert rows(ReplyRow) == []

    async def test_messages_deleted_while_the_bot_was_offline_are_deleted_on_return(self, place, env, new_bot, rows):
        asked = await question_of(place, "one")
        await place.ask("two")
        await place.ask("three")
        third = place.last
        await place.ask("four")
        with env.gap():
            env.backend.delete_message(place.channel.id, asked.id)
            env.backend.delete_message(place.channel.id, third.id)
        assert len(rows(ReplyRow)) == 4
        await env.restart_bot(new_bot())
        await env.settle()
        assert ids(rows(ReplyRow)) == [2, 4]

    async def test_messages_deleted_while_a_shard_was_offline_are_deleted_on_return(self, settings, new_bot):
        env = Env(new_bot(changed(settings, "discord", shard_count=2)))
        await env.start()
        guild = env.create_guild("Server")
        channel, ada = guild.create_text_channel("general"), guild.add_member(env.create_user("ada"))
        asked = await ada.send(channel, f"{env.bot.user.mention} one")
        with env.gap():
            env.backend.delete_message(channel.id, asked.id)
        here = env.bot.get_guild(guild.id).shard_id
        replies = []
        for shard_id in (1 - here, here):
            env.bot.dispatch("shard_ready", shard_id)
            await asyncio.sleep(0)  # the listeners start
            await asyncio.wait([one for one in asyncio.all_tasks() if "deletions in a gap" in one.get_name()])
            replies.append(await env.bot.services.database.read(lambda session: count_rows(session, select(ReplyRow))))
        assert replies == [1, 0]
        await env.bot.close()
        await env.shutdown()

    @pytest.mark.parametrize("status", [503, 429])
    async def test_messages_that_discord_does_not_return_are_asked_for_again(self, place, env, new_bot, rows, status):
        asked = await question_of(place, "one")
        with env.gap():
            env.backend.delete_message(place.channel.id, asked.id)
        env.inject_error("GET", "/channels/*/messages", status=status, times=1)
        await env.restart_bot(new_bot())
        assert len(rows(ReplyRow)) == 1
        await env.advance_time(RECHECK_PAUSE_S)
        assert rows(ReplyRow) == []


class TestEdits:
    async def test_an_edited_question_is_neither_answered_again_nor_trained_on(self, place, env, rows, query):
        query(lambda session: give_consent(session, place.ada.id))
        asked = await question_of(place, "hi")
        answer = place.last
        assert rows(ReplyRow)[0].basis is Basis.LIVE_CHAT
        catch_up(env)
        await place.ada.edit(asked, f"{place.mention} something else")
        (row,) = rows(ReplyRow)
        assert row.basis is None
        assert row.edited_at is not None
        await place.ada.react(answer, "🔁")
        assert "edited since" in place.last.content
        assert len(rows(ReplyRow)) == 1

    async def test_its_answer_takes_votes_and_the_next_prompt_has_the_new_words(self, place, env, rows, votes):
        asked = await question_of(place, "old words")
        answer = place.last
        catch_up(env)
        await place.ada.edit(asked, f"{place.mention} new words")
        await place.bo.react(answer, "👍")
        assert votes(1) == {place.bo.id: Vote.UP}
        await place.bo.send(place.channel, "and?", reply_to=answer)
        assert "new words" in rows(ReplyRow)[1].prompt
        assert "old words" not in rows(ReplyRow)[1].prompt

    async def test_a_summary_of_an_edited_message_is_reset(self, place, env, rows):
        said = [await place.ada.send_dm(f"message {number}") for number in range(4)]
        assert rows(ConversationRow)[0].summary
        catch_up(env)
        await place.ada.user.edit(said[0], "other words")
        assert rows(ConversationRow)[0].summary == ""


class TestDocuments:
    @pytest.fixture
    def load_encoder(self):
        encoder = WordEncoder()
        return lambda: encoder

    @pytest.fixture
    async def rules(self, place):
        """A message in a document, quoted in an answer in another channel."""
        said = await place.bo.send(place.channel, "The pool opens at nine.")
        await place.grace.slash(place.channel, "knowledge add", message=said.jump_url)
        other = place.channel.guild.create_text_channel("other")
        await place.ada.send(other, f"{place.mention} when does the pool open")
        return said

    async def test_a_deleted_message_takes_the_document_and_answers_that_quoted_it(self, place, rules, rows):
        assert "> The pool opens at nine." in rows(ReplyRow)[0].messages[-1]["content"]
        await place.bo.delete(rules)
        assert rows(ReplyRow) == rows(ChunkRow) == []
        assert [row.text for row in rows(DocumentRow)] == [""]

    async def test_an_edited_message_is_read_again_and_takes_the_document_if_nothing_is_left(
        self, place, env, rules, rows
    ):
        catch_up(env)
        await place.bo.edit(rules, "The pool opens at ten.")
        assert [row.text for row in rows(DocumentRow)] == ["The pool opens at ten."]
        assert rows(ReplyRow)[0].edited_at is not None
        catch_up(env)
        await place.bo.edit(rules, " ")
        assert [row.text for row in rows(DocumentRow)] == [""]

    async def test_pinned_messages_are_read_again_and_go_together(self, place, env, rows):
        said = [await place.bo.send(place.channel, text) for text in ("The pool opens at nine.", "Dogs stay outside.")]
        for message in said:
            await env.bot.get_channel(place.channel.id).get_partial_message(message.id).pin()
        await place.grace.slash(place.channel, "knowledge add", pins=place.channel)
        catch_up(env)
        await place.bo.edit(said[0], "The pool opens at ten.")
        (row,) = rows(DocumentRow)
        assert "opens at ten" in row.text
        assert "Dogs stay outside" in row.text
        assert {source.message_id for source in rows(DocumentSourceRow)} == {message.id for message in said}
        await place.bo.delete(said[1])
        assert [row.text for row in rows(DocumentRow)] == [""]

    async def test_a_document_waits_for_pins_that_discord_does_not_return(self, place, env, rows):
        said = await place.bo.send(place.channel, "The pool opens at nine.")
        await env.bot.get_channel(place.channel.id).get_partial_message(said.id).pin()
        await place.grace.slash(place.channel, "knowledge add", pins=place.channel)
        catch_up(env)
        env.inject_error("GET", "/channels/*/messages/pins", status=429, times=1)
        await place.bo.edit(said, "The pool opens at ten.")
        await env.advance_time(RATE_LIMIT_PAUSE_S)
        (row,) = rows(DocumentRow)
        assert "opens at ten" in row.text

    async def test_the_channel_of_a_document_is_deleted(self, place, env, rules, rows):
        env.backend.delete_channel(place.channel.id)
        await env.settle()
        assert rows(ReplyRow) == rows(ChunkRow) == []
