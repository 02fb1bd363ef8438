"""Who leaves a server has days until their data goes, and is forgotten earlier by nobody."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import update

from storage.database.columns import utc_now
from storage.database.enums import NOBODY
from storage.database.tables import ConversationRow, DepartureRow, ReplyRow, VoteEventRow
from tests.seeding import add_reply


@pytest.fixture
def fixed_basis():
    return None


def gone(rows):
    return [(row.guild_id, row.user_id) for row in rows(DepartureRow)]


def long_ago(query, table, column):
    moment = utc_now() - timedelta(days=31)
    query(lambda session: session.execute(update(table).values({column: moment})))


async def restart(env, new_bot):
    old = env.bot
    await env.restart_bot(new_bot())
    await env.settle()
    await old.close()


class TestServers:
    async def test_a_server_that_the_bot_leaves_has_its_days_counted_and_then_goes(
        self, place, env, new_bot, rows, query
    ):
        await place.ask("hi")
        guild_id = place.channel.guild.id
        env.backend.remove_guild(guild_id)
        await env.settle()
        assert gone(rows) == [(guild_id, NOBODY)]
        await restart(env, new_bot)
        assert len(rows(ReplyRow)) == 1
        long_ago(query, DepartureRow, "left_at")
        await restart(env, new_bot)
        assert rows(ReplyRow) == rows(DepartureRow) == []

    async def test_one_that_removed_it_while_it_was_away_is_noticed_at_the_start(self, place, env, new_bot, rows):
        await place.ask("hi")
        guild_id = place.channel.guild.id
        env.backend.subscribers.remove(env._gateway_feed)
        env.backend.remove_guild(guild_id)
        await restart(env, new_bot)
        assert gone(rows) == [(guild_id, NOBODY)]

    async def test_one_that_it_is_in_again_keeps_its_data(self, place, env, new_bot, rows, query):
        await place.ask("hi")
        query(lambda session: session.add(DepartureRow(guild_id=place.channel.guild.id, user_id=NOBODY)))
        await restart(env, new_bot)
        assert gone(rows) == []


class TestMembersWithoutTheIntent:
    async def test_who_left_is_noticed_when_discord_is_asked(self, place, env, new_bot, rows, query):
        answer = await place.ask("hi")
        await place.bo.react(answer, "👍")
        place.channel.guild.remove_member(place.ada)
        await env.settle()
        assert gone(rows) == []
        await restart(env, new_bot)
        assert gone(rows) == [(place.channel.guild.id, place.ada.id)]
        long_ago(query, DepartureRow, "left_at")
        await restart(env, new_bot)
        assert rows(ReplyRow) == rows(VoteEventRow) == rows(DepartureRow) == []

    async def test_who_came_back_is_kept(self, place, env, new_bot, rows, query):
        await place.ask("hi")
        query(lambda session: session.add(DepartureRow(guild_id=place.channel.guild.id, user_id=place.ada.id)))
        await restart(env, new_bot)
        assert gone(rows) == []


class TestMembersWithTheIntent:
    @pytest.fixture
    def overrides(self):
        return {"REACTUNE_DISCORD__MEMBERS_INTENT": "true"}

    async def test_who_leaves_is_noticed_at_once_and_so_is_their_return(self, place, env, rows):
        await place.ask("hi")
        guild = place.channel.guild
        guild.remove_member(place.ada)
        await env.settle()
        assert gone(rows) == [(guild.id, place.ada.id)]
        guild.add_member(place.ada.user)
        await env.settle()
        assert gone(rows) == []


class TestRetention:
    async def test_old_answers_go_at_the_start_and_are_told_in_a_sentence(
        self, place, env, new_bot, rows, query, caplog
    ):
        answer = await place.ask("hi")
        await place.bo.react(answer, "👍")
        long_ago(query, ReplyRow, "created_at")
        await place.ask("stays")
        caplog.set_level("INFO", "bot.cogs.retention")
        await restart(env, new_bot)
        assert [row.id for row in rows(ReplyRow)] == [2]
        assert rows(VoteEventRow) == []
        assert "gone now: 1 answer, 1 vote event, 0 suggestions, 0 summaries" in caplog.text

    async def test_a_summary_that_nobody_went_on_with_goes(self, place, env, new_bot, rows, query):
        query(lambda session: session.add(ConversationRow(channel_id=1, summary="they spoke", summarised_to=9)))
        long_ago(query, ConversationRow, "updated_at")
        await restart(env, new_bot)
        assert [row.summary for row in rows(ConversationRow)] == [""]


class TestKeepingForEver:
    @pytest.fixture
    def overrides(self):
        return {"REACTUNE_PRIVACY__RETENTION_DAYS": "0"}

    async def test_nothing_goes(self, place, env, new_bot, rows, query):
        await place.ask("hi")
        long_ago(query, ReplyRow, "created_at")
        await restart(env, new_bot)
        assert len(rows(ReplyRow)) == 1


class TestSeveralProcesses:
    @pytest.fixture
    def overrides(self):
        return {"REACTUNE_DISCORD__SHARD_COUNT": "3", "REACTUNE_DISCORD__SHARDS": "2"}

    async def test_each_asks_for_its_own_servers_and_the_first_prunes(self, env, new_bot, rows, query):
        own, others = (3_000 * 3 + 2) << 22, (3_000 * 3 + 1) << 22
        for guild_id in (own, others):
            query(lambda session, guild_id=guild_id: add_reply(session, guild_id=guild_id))
        long_ago(query, ReplyRow, "created_at")
        await restart(env, new_bot)
        assert gone(rows) == [(own, NOBODY)]
        assert len(rows(ReplyRow)) == 2
