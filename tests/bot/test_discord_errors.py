"""Discord takes a request and answers it with an error, or tells what cannot be read: the bot goes on."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from storage.database.tables import MemberNoteRow, ReplyRow
from tests.bot.recorded_discord import ADA, BO, BOT_ID, CHANNEL, GUILD, Mishap, RecordedDiscord, message, until

ASK = f"<@{BOT_ID}> is it warm?"
CALLBACK, FOLLOW_UP = "/callback", "/webhooks/"
DEFERRED = 5


@pytest.fixture
def fixed_basis():
    return None


@pytest.fixture
def overrides():
    return {"REACTUNE_DISCORD__SYNC_COMMANDS": "false"}


@pytest.fixture(autouse=True)
def _without_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bot.discord_errors.PAUSES_S", (0.01,) * 4)


def lost(path: str, *statuses: int | None, is_taken: bool = True) -> list[Mishap]:
    return [Mishap("POST", path, status, is_taken=is_taken) for status in statuses]


class TestInteractions:
    async def test_a_command_whose_deferral_or_reply_was_lost_on_its_way_is_done_and_answered(
        self, online, read, caplog
    ):
        cases = [
            lost(CALLBACK, 500),
            lost(CALLBACK, None),
            lost(CALLBACK, 503, is_taken=False),
            lost(CALLBACK, None, 502),
            lost(CALLBACK, 500) + lost(CALLBACK, 502, 502, 502, is_taken=False),
            lost(FOLLOW_UP, None, is_taken=False),
            lost(FOLLOW_UP, 500, is_taken=False),
        ]
        wire = RecordedDiscord()
        async with wire.serving(), online(wire):
            for number, mishaps in enumerate(cases, start=1):
                wire.mishaps = mishaps
                used = await wire.command(ADA, "me", "remember", note=f"I keep {number} bees")
                await until(lambda: len(wire.responses[used]) > 1)  # noqa: B023  (waited for in this turn)
                assert not wire.mishaps
                deferral, reply = wire.responses[used]
                assert deferral["type"] == DEFERRED
                assert "something went wrong" not in reply["content"]
                notes = read(lambda session: session.scalars(select(MemberNoteRow)).all())
                assert [row.user_id for row in notes] == [ADA] * number
        assert "Unexpected error" not in caplog.text

    async def test_a_command_that_another_process_acknowledged_is_not_done(self, online, read, caplog):
        wire = RecordedDiscord()
        async with wire.serving(), online(wire):
            refusal = {"message": "Interaction has already been acknowledged.", "code": 40060}
            wire.mishaps = [Mishap("POST", CALLBACK, 400, refusal, is_taken=False)]
            await wire.command(ADA, "me", "remember", note="I keep bees")
            await until(lambda: "Discord refused a reply" in caplog.text or "Unexpected error" in caplog.text)
        assert read(lambda session: session.scalars(select(MemberNoteRow)).all()) == []


async def test_a_rate_limit_that_does_not_say_how_long_only_delays_the_answer(online, read, monkeypatch, caplog):
    monkeypatch.setattr("bot.discord_errors.RATE_LIMIT_PAUSE_S", 0.01)
    wire = RecordedDiscord()
    async with wire.serving(), online(wire):
        for body in ({"message": "You are being rate limited."}, {}):
            wire.mishaps = [Mishap("POST", f"/channels/{CHANNEL}/messages", 429, body, is_taken=False)]
            question = await wire.say(ADA, ASK)
            await until(lambda: wire.is_answered(question))  # noqa: B023  (waited for in this turn)
            assert not wire.mishaps
    answers = [row.answer for row in read(lambda session: session.scalars(select(ReplyRow)).all())]
    assert answers == ["answer 1", "answer 2"]
    assert "Unexpected error" not in caplog.text


async def test_an_event_that_cannot_be_read_is_reported_once_and_the_bot_goes_on(online, caplog):
    """As an independent server sent them: discord.py ended the process."""
    unreadable = {
        "MESSAGE_DELETE": {"channel_id": str(CHANNEL), "guild_id": None},
        "MESSAGE_UPDATE": message(1, BO, "x") | {"guild_id": str(GUILD), "author": {"username": "bo"}},
    }
    wire = RecordedDiscord()
    async with wire.serving(), online(wire) as bot:
        known = await wire.say(BO, "nobody here but us")
        for event, payload in [*unreadable.items()] * 2:
            await wire.tell(event, payload | {"id": str(known)})
        question = await wire.say(ADA, ASK)
        await until(lambda: wire.is_answered(question))
        assert not bot.is_closed()
    assert len(wire.identifies) == 1
    for event in unreadable:
        assert caplog.text.count(f"an event {event} that cannot be read") == 1
