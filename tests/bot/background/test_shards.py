"""Several processes of one bot: each answers the servers of its shards, and leaves those of the others alone."""

from __future__ import annotations

import pytest
from sqlalchemy import update

from bot.operations.gateway import ShardHeartbeat
from storage.database.enums import Outcome
from storage.database.tables import HeartbeatRow, ReplyRow
from storage.errors import ShardTaken
from storage.runtime.shards import Shards, take_shards
from storage.settings.sections import DataSettings, Settings
from tests.seeding import add_reply


@pytest.fixture
def overrides():
    return {"REACTUNE_DISCORD__SHARD_COUNT": "3", "REACTUNE_DISCORD__SHARDS": "0,2"}


async def test_each_process_serves_its_own_servers(env, rows, query, new_bot):
    mine = env.create_guild("Mine", shard_id=2)
    channel, ada = mine.create_text_channel("general"), mine.add_member(env.create_user("ada"))
    await ada.send(channel, f"{env.bot.user.mention} hi")
    assert [row.guild_id for row in rows(ReplyRow)] == [mine.id]
    others = query(lambda session: add_reply(session, guild_id=(3_000 + 1) << 22))
    query(lambda session: session.execute(update(ReplyRow).values(outcome=Outcome.STREAMING)))
    await env.restart_bot(new_bot())
    assert {row.id: row.outcome for row in rows(ReplyRow)} == {1: Outcome.INTERRUPTED, others: Outcome.STREAMING}


async def test_signs_of_life_are_given_as_long_as_the_process_lives(env, rows):
    assert {row.process for row in rows(HeartbeatRow)} == {"bot 0/3", "bot 2/3"}
    await env.bot.close()
    assert {row.process for row in rows(HeartbeatRow)} == {"stopped bot 0/3", "stopped bot 2/3"}


async def test_a_process_waits_for_another_that_may_be_dead_and_then_says_who_it_is(env, query, tmp_path):
    query(lambda session: take_shards(session, Shards(3, frozenset({1})), "elsewhere:/data"))
    database, tasks = env.bot.services.database, env.bot.tasks
    with pytest.raises(ShardTaken, match="would answer the same servers"):
        await ShardHeartbeat(database, Settings(data=DataSettings(directory=tmp_path)), tasks).begin(retry_s=0)
    await ShardHeartbeat(database, env.bot.settings, tasks).begin(retry_s=0)
