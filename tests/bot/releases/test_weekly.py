"""Once a week, where a server wants it, people are told what they taught."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import update

from bot.localization.sentences import day_of_year
from bot.releases.weekly import OF_OPERATOR
from storage.database.columns import utc_now
from storage.database.enums import GateVerdict
from storage.database.tables import AliasMoveRow, ComparisonRow, ScheduleRow, ServerRow, VersionRow, VoteEventRow
from storage.insights.model_status import WEEK, week_trigger
from storage.runtime.schedules import begin_schedule
from tests.bot.environment import changed
from tests.bot.panels import said
from tests.bot.servers.test_setup import Wizard
from tests.seeding import add_taste, choose

MINUTE_S = 61.0


@pytest.fixture
def ends():
    """The end of the last week that has ended."""
    return week_trigger().get_next_fire_time(None, utc_now() - WEEK + timedelta(seconds=1))


@pytest.fixture
async def news(place, query, server_chooses):
    """Let the server hear of each week in a channel of their own, the next one being due now."""
    channel = place.channel.guild.create_text_channel("news")
    await server_chooses(announce_channel=channel.id, weekly=True)
    query(lambda session: session.execute(update(ScheduleRow).values(seen_until=utc_now() - 3 * WEEK)))
    return channel


@pytest.fixture
def in_last_week(query, ends):
    """Let everything that was said and made until now have been in that week."""

    def move():
        for table in (VoteEventRow, ComparisonRow, VersionRow):
            query(lambda session, table=table: session.execute(update(table).values(created_at=ends - WEEK / 2)))

    return move


async def test_it_says_what_people_said_what_they_like_and_what_to_do_next(place, env, news, query, in_last_week, ends):
    query(lambda session: add_taste(session, 60))
    in_last_week()
    await env.advance_time(MINUTE_S)
    (message,) = news.history()
    title, counted, liked, next_step = message.content.split("\n")
    assert title == f"🗓️ **What you taught me, {day_of_year(ends - WEEK)} to {day_of_year(ends)}**"
    assert counted == "I got 60 votes by 3 members. Thank you!"
    assert liked.startswith("Going by everything so far, members like: a question at the end")
    assert next_step == "Next: 40 more choices make a good first version. `/choose` shows ten comparisons."
    told = liked.partition(": ")[2]
    assert f"After 60 votes by 3 members, members like: {told}" in said(
        (await place.grace.slash(place.channel, "taste")).response
    )


async def test_it_tells_of_the_version_that_is_compared(env, news, waiting, query, in_last_week):
    version = waiting(1.0)
    query(lambda session: choose(session, version, None, wins=2, losses=1, ties=1))
    in_last_week()
    await env.advance_time(MINUTE_S)
    (message,) = news.history()
    assert "I got 4 choices by 4 members. Thank you!" in message.content
    assert "A new version was made: v1. v1 is being compared with base, blind.\n" in message.content
    assert message.content.endswith("Next: `/choose` shows ten blind comparisons; they decide about v1.")


async def test_it_tells_of_a_promotion_and_of_a_version_that_an_admin_may_promote(
    env, news, release, add_version, in_last_week, query, ends
):
    release(1.0)
    query(lambda session: session.execute(update(AliasMoveRow).values(moved_at=ends - WEEK / 2)))
    add_version(2.0, GateVerdict.PASS)
    in_last_week()
    await env.advance_time(MINUTE_S)
    message = next(one for one in news.history() if "What you taught me" in one.content)
    assert "Nobody voted or chose." in message.content
    assert "New versions were made: v1 and v2. v1 has been answering since this week." in message.content
    assert message.content.endswith("Next: an admin decides about v2, with `/version promote v2`.")


async def test_a_week_in_which_nothing_happened_is_not_told(env, news, query, rows):
    query(lambda session: add_taste(session, 20))  # today: that week is not over
    await env.advance_time(MINUTE_S)
    assert news.history() == []
    (schedule,) = rows(ScheduleRow)
    assert schedule.seen_until > utc_now() - timedelta(minutes=5)


async def test_after_three_weeks_away_one_is_told_and_after_a_restart_none_again(
    env, news, query, in_last_week, new_bot
):
    query(lambda session: add_taste(session, 20))
    in_last_week()
    await env.advance_time(2 * MINUTE_S)
    assert len(news.history()) == 1
    await env.restart_bot(new_bot())
    await env.advance_time(MINUTE_S)
    assert len(news.history()) == 1


async def test_while_discord_has_trouble_it_waits(env, news, query, in_last_week):
    query(lambda session: add_taste(session, 20))
    in_last_week()
    env.inject_error("POST", f"/channels/{news.id}/messages", status=503, times=2)
    await env.advance_time(MINUTE_S)
    assert news.history() == []
    await env.advance_time(3 * MINUTE_S)
    assert len(news.history()) == 1


async def test_a_channel_in_which_it_may_not_write_is_named_in_the_log(env, news, query, in_last_week, caplog):
    query(lambda session: add_taste(session, 20))
    in_last_week()
    env.inject_error("POST", f"/channels/{news.id}/messages", status=403, times=5)
    await env.advance_time(2 * MINUTE_S)
    assert news.history() == []
    assert f"Releases cannot be announced in channel {news.id}" in caplog.text


async def test_the_operators_channel_hears_of_it_if_one_line_says_so(
    place, env, settings, query, waiting, in_last_week, new_bot
):
    waiting(1.0)
    in_last_week()
    query(lambda session: begin_schedule(session, OF_OPERATOR, utc_now() - WEEK))
    weekly = changed(settings, "release", announce_channel=place.channel.id, weekly=True)
    await env.restart_bot(new_bot(weekly))
    await env.advance_time(MINUTE_S)
    assert "A new version was made: v1." in place.last.content


async def test_switching_it_on_tells_no_week_that_is_over(place, env, settings, waiting, in_last_week, new_bot):
    waiting(1.0)
    in_last_week()
    weekly = changed(settings, "release", announce_channel=place.channel.id, weekly=True)
    await env.restart_bot(new_bot(weekly))
    await env.advance_time(MINUTE_S)
    assert place.channel.history() == []


async def test_setup_switches_it_on(place, env, rows):
    wizard = await Wizard(place.grace, place.channel).open()
    await wizard.press("Next", 5)
    assert "What you taught me in a week" in wizard.text
    await wizard.choose("weekly", "on")
    await wizard.press("Next", 2)
    assert "**Weekly message:** on Mondays at 18:00 UTC" in wizard.text
    refused = await wizard.press("Finish")
    assert "Choose the channel for releases, or switch the weekly message off." in refused.response.content
    assert rows(ServerRow) == []
    await wizard.press("Back", 2)
    await wizard.choose("announce", place.channel)
    await wizard.press("Next", 2)
    await wizard.press("Finish")
    (row,) = rows(ServerRow)
    assert (row.choices["weekly"], row.choices["announce_channel"]) == (True, place.channel.id)
    assert [one.name for one in rows(ScheduleRow)] == [f"weeks in {place.channel.guild.id}"]
