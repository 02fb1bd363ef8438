from __future__ import annotations

import asyncio
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.guards.rate_limit import HOUR_S, MINUTE_S, SlidingWindows, Window, windows_of
from storage.database.tables import CorrectionRow, ReplyRow
from storage.settings.sections import LimitSettings


def test_a_window_admits_its_limit_and_says_when_it_has_room() -> None:
    windows, two = SlidingWindows(), [Window("ada", 2, 60.0)]
    assert [windows.take(two, at) for at in (0.0, 10.0, 20.0)] == [0.0, 0.0, 40.0]
    assert windows.take(two, 60.0) == 0.0
    assert windows.take(two, 60.0) == 10.0


def test_a_request_refused_by_one_window_costs_nothing_in_the_others() -> None:
    windows = SlidingWindows()
    full, roomy = Window("channel", 1, 60.0), Window("ada", 2, 60.0)
    windows.take([full], 0.0)
    assert windows.take([full, roomy], 1.0) == 59.0
    assert [windows.take([roomy], 1.0) for _ in range(2)] == [0.0, 0.0]


@given(st.lists(st.floats(0, 30), max_size=60), st.integers(1, 5))
def test_no_stretch_of_time_holds_more_than_the_limit(pauses: list[float], most: int) -> None:
    windows, window = SlidingWindows(), Window("ada", most, 60.0)
    now_s, taken = 0.0, []
    for pause_s in pauses:
        now_s += pause_s
        if not windows.take([window], now_s):
            taken.append(now_s)
    assert all(sum(start <= at < start + 60.0 for at in taken) <= most for start in taken)


@pytest.mark.threat("T11")
def test_a_million_strangers_do_not_fill_the_memory() -> None:
    windows = SlidingWindows()
    for stranger in range(10_000):
        windows.take([Window(stranger, 1, 60.0)], float(stranger))
    assert len(windows._taken) <= 1_100


def test_a_limit_of_zero_is_none() -> None:
    nothing = LimitSettings(**dict.fromkeys(LimitSettings.model_fields, 0))
    assert windows_of(1, 2, 3, nothing) == []
    only = nothing.model_copy(update={"channel_per_minute": 5})
    assert windows_of(1, 2, 3, only) == [
        *(Window(("channel", 2), 5, MINUTE_S), Window(("channel", 2), 100, HOUR_S)),
        *(Window(("server", 3), 20, MINUTE_S), Window(("server", 3), 500, HOUR_S)),
    ]


class TestFlood:
    @pytest.fixture
    def overrides(self) -> dict[str, str]:
        return {"REACTUNE_LIMITS__MEMBER_PER_MINUTE": "3", "REACTUNE_LIMITS__CHANNEL_PER_MINUTE": "5"}

    @pytest.mark.threat("T8")
    async def test_a_thousand_messages_give_three_answers_and_one_refusal(self, place, env, engine, rows):
        await place.ada.send(place.channel, "hi")
        flood = next(message for message in env.bot.cached_messages if message.author.id == place.ada.id)
        flood.mentions = [env.bot.user]
        for _ in range(1_000):
            flood.id += 1  # the same message twice would be one question
            await env.bot.get_cog("Chat").on_message(flood)
        answers = [task for task in asyncio.all_tasks() if task.get_name().startswith("answer to")]
        await asyncio.gather(*answers)
        assert len(rows(ReplyRow)) == len(engine.requests) == 3
        assert sum("You can ask me again in" in text for text in place.contents) == 1
        assert len(place.contents) == 1 + 3 + 1

    @pytest.mark.threat("T9")
    async def test_a_channel_has_its_own_limit_and_time_heals(self, place, env, engine):
        for i in range(3):
            await place.ask(str(i))
            await place.ask(str(i), who=place.bo)
        assert len(engine.requests) == 5
        await env.advance_time(61)
        await place.ask("again")
        assert len(engine.requests) == 6

    async def test_a_german_member_reads_in_german_how_long_to_wait(self, place, env):
        env.locales[place.ada.id] = "de"
        for _ in range(3):
            await place.ada.slash(place.channel, "myvotes")
        refused = (await place.ada.slash(place.channel, "myvotes")).response.content
        assert re.fullmatch(r"Einen Moment, bitte\. In \d+ Sekunden kannst du mich wieder fragen\.", refused)

    @pytest.mark.threat("T10")
    async def test_commands_and_other_answers_count_too(self, place, engine, rows):
        answer = await place.ask("hi")
        await place.ada.slash(place.channel, "myvotes")
        await place.ada.react(answer, "🔁")
        assert len(engine.requests) == 2
        await place.ada.react(place.last, "🔁")
        refused = await place.ada.slash(place.channel, "suggest")
        assert len(engine.requests) == 2
        assert refused.modal is None
        assert "You can ask me again in" in refused.response.content
        assert rows(CorrectionRow) == []
