"""A gateway that breaks: what Discord replays, or no longer tells, is counted once, answered once, and not lost."""

from __future__ import annotations

from contextlib import closing

import pytest
from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from storage.conversations.replies import find_by_message
from storage.database.database import open_database
from storage.database.tables import HeartbeatRow, ReplyRow, VoteEventRow
from storage.votes.votes import Vote, votes_on
from tests.bot.recorded_discord import ADA, BO, BOT_ID, CHANNEL, DIRECT, RecordedDiscord, until

HOURS_S = 21_600.0
ASK = f"<@{BOT_ID}> "


@pytest.fixture
def fixed_basis():
    return None


@pytest.fixture
def overrides():
    return {"REACTUNE_DISCORD__SYNC_COMMANDS": "false"}


async def answered(on: RecordedDiscord, user_id: int, text: str) -> tuple[int, int]:
    """Ask, and return the IDs of the question and of its whole answer."""
    question = await on.say(user_id, ASK + text)
    await until(lambda: on.is_answered(question))
    return question, on.answers_to(question)[0]


def thumbs(session: Session) -> list[tuple[int, str, bool]]:
    rows = session.scalars(select(VoteEventRow).order_by(VoteEventRow.id))
    return [(row.user_id, row.emoji, row.added) for row in rows]


@pytest.mark.parametrize("trouble", ["close", "ask_to_reconnect"])
async def test_a_resumed_session_is_told_what_it_missed_once(online, read, trouble):
    wire = RecordedDiscord()
    async with wire.serving(), online(wire):
        liked = await answered(wire, ADA, "is it warm?")
        deleted = await answered(wire, ADA, "my secret is tea")
        await wire.react(ADA, liked[1], "👍")
        await until(lambda: read(thumbs))
        wire.asked.clear()
        await getattr(wire, trouble)()
        # While nobody is connected:
        asked = await wire.say(BO, f"{ASK}and now?")
        await wire.unreact(ADA, liked[1], "👍")
        await wire.react(BO, liked[1], "👎")
        await wire.delete(deleted[0])
        await until(lambda: wire.is_answered(asked))
        await until(lambda: read(lambda session: find_by_message(session, deleted[1])) is None)
        await until(lambda: len(read(thumbs)) >= 3)
    assert f"GET /channels/{CHANNEL}/messages/{liked[1]}" not in wire.asked, "Discord told what was missed"
    (resume,) = wire.resumes
    assert (resume["token"], resume["session_id"]) == ("token", "session-1")
    assert len(wire.identifies) == 1
    assert len(wire.answers_to(asked)) == 1
    assert read(thumbs) == [(ADA, "👍", True), (ADA, "👍", False), (BO, "👎", True)]
    assert read(lambda session: votes_on(session, 1)) == {BO: Vote.DOWN}
    assert [row.answer for row in read(lambda session: list(session.scalars(select(ReplyRow))))] == [
        "answer 1",
        "answer 3",
    ]


async def test_after_an_invalid_session_what_was_missed_is_read_from_discord(online, read):
    wire = RecordedDiscord()
    async with wire.serving(), online(wire):
        liked = await answered(wire, ADA, "is it warm?")
        deleted = await answered(wire, ADA, "my secret is tea")
        await wire.react(ADA, liked[1], "👍")
        await until(lambda: read(thumbs))
        wire.forget_session()
        await wire.close()
        await wire.unreact(ADA, liked[1], "👍")
        await wire.react(BO, liked[1], "👎")
        await wire.delete(deleted[0])
        await until(lambda: read(lambda session: votes_on(session, 1)) == {BO: Vote.DOWN})
        await until(lambda: read(lambda session: find_by_message(session, deleted[1])) is None)
        again = await answered(wire, BO, "and now?")
    assert [len(wire.resumes), len(wire.identifies)] == [1, 2]
    assert wire.identifies[1]["intents"] == wire.identifies[0]["intents"]
    assert sorted(read(thumbs)) == sorted([(ADA, "👍", True), (ADA, "👍", False), (BO, "👎", True)])
    for question in (liked[0], again[0]):
        assert len(wire.answers_to(question)) == 1


@pytest.mark.parametrize("is_deletion", [True, False], ids=["deletions", "votes"])
async def test_a_stop_does_not_wait_until_all_deletions_and_votes_are_read_again(online, read, is_deletion):
    wire = RecordedDiscord()
    async with wire.serving():
        async with online(wire):
            question, answer = await answered(wire, ADA, "is it warm?")
        await wire.react(ADA, answer, "👍")
        if is_deletion:
            await wire.delete(question)
        wire.held = f"GET /channels/{CHANNEL}/messages/{question if is_deletion else answer}"
        wire.asked.clear()
        async with online(wire, finishing_s=HOURS_S):
            await until(lambda: wire.held in wire.asked)
        wire.held = ""
        async with online(wire):
            if is_deletion:
                await until(lambda: read(lambda session: session.scalars(select(ReplyRow.id)).all()) == [])
            else:
                await until(lambda: read(thumbs) == [(ADA, "👍", True)])


async def test_what_was_asked_without_a_session_is_answered_once(online, read, caplog):
    caplog.set_level("INFO", "bot.chat.missed_questions")
    wire = RecordedDiscord()
    async with wire.serving(), online(wire):
        before = await answered(wire, ADA, "is it warm?")
        wire.forget_session()
        await wire.close()
        talk = await wire.say(ADA, "nobody here but us")
        asked = await wire.say(BO, f"{ASK}are you there?")
        await until(lambda: wire.is_answered(asked))
        for _ in range(2):
            sessions = len(wire.identifies)
            wire.forget_session()
            await wire.close()
            await until(lambda: len(wire.identifies) > sessions)  # noqa: B023  (waited for in this turn)
            last = await answered(wire, ADA, "and now?")
    assert [len(wire.answers_to(question)) for question in (before[0], talk, asked, last[0])] == [1, 0, 1, 1]
    assert caplog.text.count("Questions asked while Discord told the bot nothing: 1.") == 1
    assert len(read(lambda session: list(session.scalars(select(ReplyRow))))) == 4


async def test_what_was_asked_while_the_bot_was_off_is_answered_if_it_is_new(online):
    wire = RecordedDiscord()
    async with wire.serving():
        async with online(wire):
            await answered(wire, ADA, "is it warm?")
        hour_old = await wire.say(ADA, f"{ASK}hello?", minutes_ago=60)
        first, second = [await wire.say(BO, f"{ASK}{text}") for text in ("anybody?", "are you there?")]
        async with online(wire):
            await until(lambda: wire.is_answered(second))
        async with online(wire):
            await answered(wire, ADA, "and now?")
    assert [len(wire.answers_to(question)) for question in (hour_old, first, second)] == [0, 0, 1]


@pytest.mark.parametrize("crashed", [False, True])
async def test_an_answer_that_was_deleted_before_a_restart_is_not_given_again(online, read, settings, crashed):
    wire = RecordedDiscord()
    async with wire.serving():
        async with online(wire):
            for minutes_ago in (3, 0):
                question = await wire.say(ADA, f"{ASK}is it warm?", minutes_ago=minutes_ago)
                await until(lambda: wire.is_answered(question))  # noqa: B023  (waited for in this turn)
                await wire.delete(wire.answers_to(question)[0])
            await until(lambda: read(lambda session: session.scalars(select(ReplyRow.id)).all()) == [])
        if crashed:
            with closing(open_database(settings)) as database, database.transaction() as session:
                session.execute(delete(HeartbeatRow))  # a crash notes no stop
        later = await wire.say(BO, f"{ASK}are you there?")
        async with online(wire):
            await until(lambda: wire.is_answered(later))
    sources = read(lambda session: session.scalars(select(ReplyRow.source_message_id)).all())
    assert sources == [later]


async def test_direct_messages_are_looked_through_where_the_bot_answered_lately(online):
    wire = RecordedDiscord()
    async with wire.serving(), online(wire):
        before = await wire.say(ADA, "is it warm?", channel=DIRECT)
        await until(lambda: wire.is_answered(before))
        wire.forget_session()
        await wire.close()
        asked = await wire.say(ADA, "are you there?", channel=DIRECT)
        await until(lambda: wire.is_answered(asked))
    assert [len(wire.answers_to(question)) for question in (before, asked)] == [1, 1]
    assert {wire.messages[answer]["channel_id"] for answer in wire.answers_to(asked)} == {str(DIRECT)}


class TestRoles:
    @pytest.fixture
    def overrides(self, overrides):
        return overrides | {"REACTUNE_ACCESS__ROLES": "41771983423143999"}

    async def test_members_without_an_allowed_role_get_no_answer_after_a_gap_either(self, online, engine):
        wire = RecordedDiscord()
        async with wire.serving(), online(wire):
            wire.forget_session()
            await wire.close()
            await wire.say(BO, f"{ASK}are you there?")
            await until(lambda: "certain roles" in str(list(wire.messages.values())))
        assert engine.requests == []


async def test_an_answer_that_slow_mode_delays_for_hours_comes_with_the_next_start_and_once(online, read, caplog):
    wire = RecordedDiscord(slow_mode_s=int(HOURS_S))
    async with wire.serving():
        async with online(wire):
            wire.delays = [HOURS_S] * 20
            question = await wire.say(ADA, f"{ASK}is it warm?")
            await until(lambda: wire.refused and "Slow mode in channel" in caplog.text)
            await until(lambda: read(lambda session: session.scalars(select(ReplyRow.answer)).all()) == ["answer 1"])
            assert wire.answers_to(question) == []
        wire.delays.clear()
        async with online(wire):
            await until(lambda: wire.is_answered(question))
            await wire.react(ADA, wire.answers_to(question)[0], "👍")
            await until(lambda: read(thumbs))
    (answer,) = wire.answers_to(question)
    assert wire.messages[answer]["content"].startswith("answer 1\n")
    assert read(lambda session: votes_on(session, 1)) == {ADA: Vote.UP}
    assert "give the bot the permission Bypass Slowmode" in caplog.text


async def test_an_answer_that_slow_mode_delays_for_a_moment_comes_once(online, read):
    wire = RecordedDiscord(slow_mode_s=5)
    async with wire.serving(), online(wire):
        wire.delays = [0.05, 0.05]
        question, answer = await answered(wire, ADA, "is it warm?")
    assert wire.refused == 2
    assert wire.answers_to(question) == [answer]
    assert wire.messages[answer]["content"].startswith("answer 1\n")


@pytest.mark.parametrize("text", ["is it warm?", "are you a bot?"], ids=["answer", "fixed sentence"])
async def test_an_answer_that_a_stop_cuts_off_while_discord_is_slow_comes_whole_with_the_next_start(
    online, read, engine, text
):
    wire = RecordedDiscord()
    engine.answers = ["warm"]  # one word: Discord is still asked for its end when the bot stops
    async with wire.serving():
        async with online(wire):
            wire.held = f"{'POST' if 'bot' in text else 'PATCH'} /channels/{CHANNEL}/messages"
            question = await wire.say(ADA, ASK + text)
            await until(lambda: any(asked.startswith(wire.held) for asked in wire.asked))
        wire.held = ""
        async with online(wire):
            await until(lambda: read(lambda session: session.scalars(select(ReplyRow.undelivered)).all()) == [None])
    (answer,) = wire.answers_to(question)
    (whole,) = read(lambda session: session.scalars(select(ReplyRow.answer)).all())
    assert wire.messages[answer]["content"].startswith(f"{whole}\n-# ")
    assert whole
