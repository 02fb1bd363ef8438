"""Answers reach Discord whole, however long it refuses them, and disappear with their questions."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import discord
import pytest
from sqlalchemy.exc import OperationalError

from bot.chat.message_stream import CURSOR, is_slowed_down
from bot.chat.recorder import DELETED
from bot.discord_errors import RATE_LIMIT_PAUSE_S, SLOW_MODE, retry_after_s
from storage.conversations.replies import Sources, find_reply, finish_reply
from storage.database.columns import utc_now
from storage.database.enums import Outcome
from storage.database.tables import ReplyMessageRow, ReplyRow

INTERRUPTED = "-# interrupted by a restart"
TRY_AGAIN = "-# interrupted by a restart · press 🔁 for another answer"

EDITS = ("PATCH", "/channels/*/messages/*")
SENDS = ("POST", "/channels/*/messages")


def reactions(message):
    return [str(reaction.emoji) for reaction in message.reactions]


def edits(env):
    return sum(request.method == "PATCH" and "/messages/" in request.path for request in env.http_requests)


def refused(status, code=0, **headers):
    response = SimpleNamespace(status=status, reason="Refused", headers=headers)
    return discord.HTTPException(response, {"message": "refused", "code": code})


@pytest.mark.parametrize(
    ("error", "wait_s"),
    [
        (refused(429, **{"Retry-After": "12.5"}), 12.5),
        (refused(429), RATE_LIMIT_PAUSE_S),
        (refused(429, **{"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"}), RATE_LIMIT_PAUSE_S),
        (refused(503), 0.0),
        (refused(400, code=SLOW_MODE), RATE_LIMIT_PAUSE_S),
        (discord.RateLimited(7.0), 7.0),
        (OSError("connection reset"), 0.0),
    ],
)
def test_how_long_discord_asks_to_wait(error, wait_s):
    assert retry_after_s(error) == wait_s


class TestRefusedEnd:
    @pytest.fixture
    def refuse(self, place, engine, env):
        """Ask while Discord refuses edits; return the answer, cut after its first word."""

        async def ask_while_refused(times):
            engine.answers = ["one two three"]
            env.inject_error(*EDITS, status=429, times=times)
            return await place.ask("hi")

        return ask_while_refused

    async def test_it_is_delivered_when_the_pause_is_over_and_not_tried_before(self, place, refuse, env, rows):
        answer = await refuse(times=2)
        assert answer.content == f"one{CURSOR}"
        assert edits(env) == 1  # the next word waits, and the end too
        (row,) = rows(ReplyRow)
        assert (row.answer, row.outcome, row.undelivered) == ("one two three", Outcome.COMPLETE, "-# base")
        await env.advance_time(RATE_LIMIT_PAUSE_S)
        assert edits(env) == 2
        assert reactions(place.last) == []
        await env.advance_time(RATE_LIMIT_PAUSE_S)
        assert place.last.content == "one two three\n-# base"
        assert reactions(place.last) == ["👍", "👎", "🔁"]
        assert rows(ReplyRow)[0].undelivered is None

    async def test_it_is_delivered_after_a_restart(self, place, refuse, env, rows, restart):
        await refuse(times=None)
        env.backend.faults.clear()
        await restart()
        assert place.last.content == "one two three\n-# base"
        assert reactions(place.last) == ["👍", "👎", "🔁"]
        assert [(row.outcome, row.undelivered) for row in rows(ReplyRow)] == [(Outcome.COMPLETE, None)]

    async def test_a_long_one_gets_its_further_messages_after_a_restart(self, place, engine, env, rows, restart):
        engine.answers = ["word " * 900]
        env.inject_error(*EDITS, status=429, times=None)
        await place.ask("a long story")
        env.backend.faults.clear()
        await restart()
        own = [message for message in place.channel.history() if message.author.bot]
        assert [row.message_id for row in rows(ReplyMessageRow)] == [message.id for message in own]
        assert len(own) == 3
        assert not any(CURSOR in message.content for message in own)

    async def test_an_answer_whose_first_message_is_refused_is_sent_later(self, place, env, rows):
        env.inject_error(*SENDS, status=429, times=1)
        await place.ada.send(place.channel, f"{place.mention} hi")
        assert [row.answer for row in rows(ReplyRow)] == ["answer 1"]
        assert place.last.author.id == place.ada.id
        await env.advance_time(RATE_LIMIT_PAUSE_S)
        assert place.last.content == "answer 1\n-# base"
        assert place.last.reference is not None

    async def test_it_is_delivered_after_an_outage_of_the_database_as_well(self, place, engine, env, rows, monkeypatch):
        waits = iter([OperationalError("", None, Exception("away"))] * 3)

        def finish(*args, **options):
            for error in waits:
                raise error
            return finish_reply(*args, **options)

        monkeypatch.setattr("bot.chat.recorder.finish_reply", finish)
        engine.answers = ["warm"]
        env.inject_error(*EDITS, status=503, times=1)
        await place.ask("is it warm?")
        assert place.last.content == "warm\n-# base"
        assert reactions(place.last) == ["👍", "👎", "🔁"]
        assert [(row.outcome, row.undelivered) for row in rows(ReplyRow)] == [(Outcome.COMPLETE, None)]

    async def test_an_undelivered_answer_is_dropped_if_its_question_is_deleted(self, place, refuse, env, rows):
        answer = await refuse(times=1)
        env.backend.delete_message(place.channel.id, answer.reference.message_id)
        await env.settle()
        assert rows(ReplyRow) == []
        await env.advance_time(RATE_LIMIT_PAUSE_S)
        assert place.contents == []

    async def test_after_a_permission_was_taken_away_it_is_delivered_when_that_is_back(
        self, place, engine, env, rows, restart, monkeypatch
    ):
        monkeypatch.setattr("bot.chat.delivery.FORBIDDEN_PAUSE_S", RATE_LIMIT_PAUSE_S)
        engine.answers = ["one two three"]
        env.inject_error(*EDITS, status=403, code=50013, times=None)
        answer = await place.ask("hi")
        assert answer.content == f"one{CURSOR}"
        (row,) = rows(ReplyRow)
        assert (row.answer, row.outcome, row.undelivered) == ("one two three", Outcome.COMPLETE, "-# base")
        tried = edits(env)
        await env.advance_time(RATE_LIMIT_PAUSE_S)
        assert edits(env) > tried
        tried = edits(env)
        await restart()
        assert edits(env) > tried
        assert place.last.content == f"one{CURSOR}"
        env.backend.faults.clear()
        await env.advance_time(RATE_LIMIT_PAUSE_S)
        assert place.last.content == "one two three\n-# base"
        assert reactions(place.last) == ["👍", "👎", "🔁"]
        assert [(row.outcome, row.undelivered) for row in rows(ReplyRow)] == [(Outcome.COMPLETE, None)]

    async def test_a_permanent_refusal_ends_it(self, place, refuse, env, rows):
        await refuse(times=1)
        env.inject_error(*EDITS, status=400, code=50035, times=None)
        await env.advance_time(RATE_LIMIT_PAUSE_S)
        tried = edits(env)
        await env.advance_time(2 * RATE_LIMIT_PAUSE_S)
        assert edits(env) == tried
        assert rows(ReplyRow)[0].undelivered is None


class TestSlowMode:
    @pytest.fixture
    def slow_down(self, place, engine, env):
        """Let Discord refuse so many messages of the bot after the first one, as slow mode does."""

        def arm(times):
            async def begin():
                engine.interlude = None
                method, path = SENDS
                refusal = {"method": method, "path": path, "status": 429, "code": SLOW_MODE, "message": "slow mode"}
                env.backend.faults.append({**refusal, "times": times})

            engine.interlude = begin

        return arm

    async def test_the_rest_of_an_answer_comes_later_and_the_log_names_the_permission(
        self, place, engine, slow_down, env, rows, caplog
    ):
        engine.answers = [f"{'word' * 9} " * 95]
        slow_down(times=2)
        await place.ada.send(place.channel, f"{place.mention} tell me")
        assert len(place.contents) == 2
        for _ in range(3):
            await env.advance_time(RATE_LIMIT_PAUSE_S)
        own = [message for message in place.channel.history() if message.author.bot]
        assert " ".join(" ".join(message.content for message in own).split()) == f"{'word' * 9} " * 95 + "-# base"
        assert reactions(place.last) == ["👍", "👎", "🔁"]
        assert [row.message_id for row in rows(ReplyMessageRow)] == [message.id for message in own]
        said = [record.getMessage() for record in caplog.records if "Bypass Slowmode" in record.getMessage()]
        assert len(said) == 1
        assert str(place.channel.id) in said[0]

    @pytest.mark.parametrize(
        ("delay_s", "exempt", "is_slowed"), [(0, False, False), (60, False, True), (60, True, False)]
    )
    async def test_a_wait_that_discord_py_reports_is_slow_modes_where_it_holds(
        self, place, env, delay_s, exempt, is_slowed
    ):
        channel = env.bot.get_channel(place.channel.id)
        await channel.edit(slowmode_delay=delay_s)
        role = channel.guild.default_role
        await channel.set_permissions(role, bypass_slowmode=exempt)
        await env.settle()
        assert is_slowed_down(channel, discord.RateLimited(45.0)) is is_slowed
        assert not is_slowed_down(channel, OSError("connection reset"))


class TestDeletedQuestion:
    @pytest.fixture
    def delete_first(self, place, engine, env):
        """Delete the channel's first message when the next answer has its first word, and wait until the bot knows."""

        async def delete_at_first_word():
            engine.interlude = None
            first = place.channel.history()[0]
            is_known, prompt = asyncio.Event(), Sources({first.id: place.ada.id})
            with env.bot.services.deletions.watching(place.channel.id, prompt, utc_now(), is_known.set):
                env.backend.delete_message(place.channel.id, first.id)
                await is_known.wait()

        def arm():
            engine.interlude = delete_at_first_word

        return arm

    async def test_generation_stops_and_the_answer_is_taken_back(self, place, engine, delete_first, env, rows):
        delete_first()
        engine.answers = ["one two three four"]
        await place.ada.send(place.channel, f"{place.mention} hi")
        assert engine.generations[0].cancelled_after == "one "
        assert place.contents == []
        assert "PUT /channels" not in env.transcript()  # no reaction was added
        assert rows(ReplyRow) == []

    async def test_a_deleted_message_of_the_history_takes_the_answer_too_and_its_asker_reads_so(
        self, place, engine, delete_first, rows
    ):
        answer = await place.ask("what is red?")
        delete_first()
        engine.answers = ["one two three four"]
        asked = await place.bo.send(place.channel, "and blue?", reply_to=answer)
        assert place.last.content == DELETED
        assert [message.id for message in place.channel.history()][:-1] == [answer.id, asked.id]
        assert rows(ReplyRow) == []

    async def test_there_is_no_second_answer_to_compare(self, place, engine, delete_first, env, settings):
        delete_first()
        chat = settings.chat.model_copy(update={"second_answers": 1.0})
        env.change_settings(settings.model_copy(update={"chat": chat}))
        engine.answers = ["one two three", "four five six"]
        await place.ada.send(place.channel, f"{place.mention} hi")
        assert len(engine.requests) == 1
        assert place.contents == []


class TestInterrupted:
    @pytest.fixture
    def cut(self, place, env):
        """Return an answer as it was when the bot was killed: with a cursor, without reactions."""

        async def ask_and_cut():
            answer = await place.ask("hi")
            env.backend.edit_message(place.channel.id, answer.id, {"content": f"answer{CURSOR}"})
            env.backend.clear_reactions(place.channel.id, answer.id)
            await env.settle()
            return answer

        return ask_and_cut

    async def test_it_offers_another_answer_with_the_reaction_that_gives_one(self, place, cut, kill):
        await cut()
        await kill()
        assert place.last.content == f"answer\n{TRY_AGAIN}"
        assert reactions(place.last) == ["🔁"]
        await place.ada.react(place.last, "🔁")
        assert place.last.content == "answer 2\n-# base"

    async def test_it_offers_none_where_reactions_are_refused(self, place, cut, kill, env):
        await cut()
        env.inject_error("PUT", "/channels/*/messages/*/reactions/*", status=403, times=None)
        await kill()
        assert place.last.content == f"answer\n{INTERRUPTED}"

    async def test_it_offers_none_to_an_answer_of_another_base_model(self, place, cut, kill):
        await cut()
        await kill(base_revision="f" * 16)
        assert place.last.content == f"answer\n{INTERRUPTED}"
        assert reactions(place.last) == []

    async def test_a_second_restart_before_discord_accepts_the_mark_loses_nothing(
        self, place, cut, kill, env, rows, restart
    ):
        await cut()
        env.inject_error(*EDITS, status=429, times=None)
        await kill()
        assert rows(ReplyRow)[0].outcome is Outcome.STREAMING
        env.backend.faults.clear()
        await restart()
        assert place.last.content == f"answer\n{TRY_AGAIN}"
        assert rows(ReplyRow)[0].outcome is Outcome.INTERRUPTED

    async def test_it_is_marked_when_the_database_is_back(self, place, cut, kill, env, monkeypatch):
        await cut()
        waits = iter([OperationalError("", None, Exception("away"))])

        def find(*args):
            for error in waits:
                raise error
            return find_reply(*args)

        monkeypatch.setattr("bot.chat.recovery.find_reply", find)
        await kill()
        await env.advance_time(RATE_LIMIT_PAUSE_S)
        assert place.last.content == f"answer\n{TRY_AGAIN}"

    async def test_it_is_marked_when_discord_accepts_that(self, place, cut, kill, env):
        await cut()
        env.inject_error(*EDITS, status=429, times=1)
        await kill()
        assert place.last.content.endswith(CURSOR)
        await env.advance_time(RATE_LIMIT_PAUSE_S)
        assert place.last.content == f"answer\n{TRY_AGAIN}"
