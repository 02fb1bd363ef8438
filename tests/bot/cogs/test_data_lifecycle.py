"""Data is deleted when its time is up: of old answers, and of members and servers that left."""

from __future__ import annotations

from datetime import timedelta

import discord
import pytest
from sqlalchemy import update

from storage.database.columns import utc_now
from storage.database.enums import NOBODY
from storage.database.tables import ConsoleSessionRow, ConversationRow, DepartureRow, ReplyRow, VoteEventRow
from storage.operations.console_sessions import begin_session
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
    await env.restart_bot(new_bot())
    await env.settle()


class TestServers:
    async def test_data_of_a_server_that_removed_the_bot_is_deleted_after_the_retention_time(
        self, place, env, new_bot, rows, query, caplog
    ):
        caplog.set_level("INFO", "bot.cogs.data_lifecycle")
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
        assert "Deleted the data of a departed server: 1 answer." in caplog.text

    async def test_a_removal_while_the_bot_was_offline_is_noticed_at_the_start(self, place, env, new_bot, rows):
        await place.ask("hi")
        guild_id = place.channel.guild.id
        with env.gap():
            env.backend.remove_guild(guild_id)
        await restart(env, new_bot)
        assert gone(rows) == [(guild_id, NOBODY)]


class TestMembersWithoutTheIntent:
    async def test_a_departed_member_is_noticed_when_discord_is_asked(self, place, env, new_bot, rows, query):
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

    async def test_a_server_that_discord_does_not_answer_about_does_not_stop_the_others(
        self, place, env, new_bot, rows, monkeypatch
    ):
        await place.ask("hi")
        other = env.create_guild("Other")
        cy = other.add_member(env.create_user("cy"))
        await cy.send(other.create_text_channel("general"), f"{place.mention} hi")
        other.remove_member(cy)
        query_members = discord.Guild.query_members

        async def answer_about_the_other(guild, **asked):
            if guild.id != other.id:
                raise TimeoutError
            return await query_members(guild, **asked)

        monkeypatch.setattr(discord.Guild, "query_members", answer_about_the_other)
        await restart(env, new_bot)
        assert place.channel.guild.id < other.id
        assert gone(rows) == [(other.id, cy.id)]

    async def test_a_member_and_a_server_that_came_back_keep_their_data(self, place, env, new_bot, rows, query):
        await place.ask("hi")
        for user_id in (place.ada.id, NOBODY):
            query(lambda s, user_id=user_id: s.add(DepartureRow(guild_id=place.channel.guild.id, user_id=user_id)))
        long_ago(query, DepartureRow, "left_at")
        await restart(env, new_bot)
        assert gone(rows) == []
        assert len(rows(ReplyRow)) == 1

    async def test_data_is_kept_while_discord_does_not_say_whether_somebody_came_back(
        self, place, env, new_bot, rows, query, monkeypatch
    ):
        await place.ask("hi")
        query(lambda session: session.add(DepartureRow(guild_id=place.channel.guild.id, user_id=place.ada.id)))
        long_ago(query, DepartureRow, "left_at")

        async def no_answer(_guild, **_asked):
            raise TimeoutError

        monkeypatch.setattr(discord.Guild, "query_members", no_answer)
        await restart(env, new_bot)
        assert len(rows(ReplyRow)) == 1


class TestMembersWithTheIntent:
    @pytest.fixture
    def overrides(self):
        return {"REACTUNE_DISCORD__MEMBERS_INTENT": "true"}

    async def test_a_departure_and_a_return_are_noticed_at_once(self, place, env, rows):
        await place.ask("hi")
        guild = place.channel.guild
        guild.remove_member(place.ada)
        await env.settle()
        assert gone(rows) == [(guild.id, place.ada.id)]
        guild.add_member(place.ada.user)
        await env.settle()
        assert gone(rows) == []


class TestRetention:
    async def test_old_answers_are_deleted_at_the_start_and_logged_in_one_sentence(
        self, place, env, new_bot, rows, query, caplog
    ):
        await place.ask("hi")
        answer = await place.ask("and now?")
        await place.bo.react(answer, "👍")
        long_ago(query, ReplyRow, "created_at")
        await place.ask("stays")
        query(lambda session: session.add(ConversationRow(channel_id=1, summary="they spoke", summarised_to=9)))
        long_ago(query, ConversationRow, "updated_at")
        caplog.set_level("INFO", "bot.cogs.data_lifecycle")
        await restart(env, new_bot)
        assert [row.id for row in rows(ReplyRow)] == [2, 3], "an answer with a vote still teaches"
        assert [row.reply_id for row in rows(VoteEventRow)] == [2]
        assert "deleted 1 answer, 0 vote events, 0 suggestions, 1 summary and 0 join dates." in caplog.text
        assert [row.summary for row in rows(ConversationRow)] == [""]


class TestNoRetentionLimit:
    @pytest.fixture
    def overrides(self):
        return {"REACTUNE_PRIVACY__RETENTION_DAYS": "0"}

    async def test_nothing_is_deleted(self, place, env, new_bot, rows, query):
        await place.ask("hi")
        long_ago(query, ReplyRow, "created_at")
        await restart(env, new_bot)
        assert len(rows(ReplyRow)) == 1

    async def test_ended_sign_ins_to_the_console_are_deleted(self, place, env, new_bot, rows, query):
        for member in (place.ada, place.bo):
            query(lambda session, member=member: begin_session(session, member.id, "somebody"))
        over = ConsoleSessionRow.user_id == place.ada.id
        query(lambda session: session.execute(update(ConsoleSessionRow).where(over).values(expires_at=utc_now())))
        await restart(env, new_bot)
        assert [row.user_id for row in rows(ConsoleSessionRow)] == [place.bo.id]


class TestSeveralProcesses:
    @pytest.fixture
    def overrides(self):
        return {"REACTUNE_DISCORD__SHARD_COUNT": "3", "REACTUNE_DISCORD__SHARDS": "2"}

    async def test_each_process_checks_its_own_servers_and_the_first_one_prunes(self, env, new_bot, rows, query):
        own, others = (3_000 * 3 + 2) << 22, (3_000 * 3 + 1) << 22
        for guild_id in (own, others):
            query(lambda session, guild_id=guild_id: add_reply(session, guild_id=guild_id))
        long_ago(query, ReplyRow, "created_at")
        await restart(env, new_bot)
        assert gone(rows) == [(own, NOBODY)]
        assert len(rows(ReplyRow)) == 2
