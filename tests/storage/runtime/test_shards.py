"""Shards: every server is served by exactly one process, in Python and in the database alike."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from storage.conversations.replies import find_unfinished, recent_messages
from storage.database.columns import utc_now
from storage.database.enums import Outcome
from storage.database.tables import HeartbeatRow, ReplyRow
from storage.errors import DataDirectoryInUse, ShardTaken
from storage.runtime.processes import BOT, SILENT_AFTER_S
from storage.runtime.shards import ALL, Shards, last_stop, leave_shards, note_stop, shards_of, take_shards
from storage.settings.sections import DiscordSettings
from tests.seeding import add_reply, message_of

pytestmark = pytest.mark.both_databases

HERE, ELSEWHERE = "here:/data", "elsewhere:/data"
GUILD_IDS = st.one_of(st.none(), st.integers(1 << 22, 2**63 - 1))


def guild_of(shard: int, count: int) -> int:
    return (count * 1_000 + shard) << 22


@given(st.lists(GUILD_IDS, min_size=1, max_size=5), st.integers(2, 40), st.data())
@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_processes_share_the_servers_out(
    session: Session, guild_ids: list[int | None], count: int, data: st.DataObject
) -> None:
    first = data.draw(st.sets(st.integers(0, count - 1), min_size=1, max_size=count - 1))
    halves = [Shards(count, frozenset(first)), Shards(count, frozenset(range(count)) - first)]
    with session.begin_nested() as attempt:
        ids = {add_reply(session, guild_id=guild_id): guild_id for guild_id in guild_ids}
        for half in halves:
            selected = set(session.scalars(select(ReplyRow.id).where(half.of(ReplyRow.guild_id))))
            assert selected == {id_ for id_, guild_id in ids.items() if half.serve(guild_id)}
        assert all(sum(half.serve(guild_id) for half in halves) == 1 for guild_id in guild_ids)
        assert [half.lead for half in halves].count(True) == 1
        attempt.rollback()


def test_one_process_serves_all_shards_by_default() -> None:
    assert shards_of(DiscordSettings()) == shards_of(DiscordSettings(shard_count=0)) == ALL
    assert shards_of(DiscordSettings(shard_count=3)) == Shards(3, frozenset({0, 1, 2}))
    assert shards_of(DiscordSettings(shard_count=3, shards=(1,))) == Shards(3, frozenset({1}))
    assert ALL.serve(None)
    assert ALL.serve(guild_of(5, 7))


def test_a_restart_finds_only_the_unfinished_answers_of_its_own_servers(session: Session) -> None:
    mine, _others = (add_reply(session, guild_id=guild_of(shard, 2)) for shard in (1, 0))
    session.execute(update(ReplyRow).values(outcome=Outcome.STREAMING))
    since = utc_now() - timedelta(days=1)
    own = Shards(2, frozenset({1}))
    assert find_unfinished(session, own) == [mine]
    assert [message.message_id for message in recent_messages(session, since, own)] == [message_of(mine)]


def test_the_last_stop_is_that_of_the_shard_that_was_stopped_first(session: Session) -> None:
    first, second = (Shards(2, frozenset({shard})) for shard in (0, 1))
    note_stop(session, first)
    assert last_stop(session, Shards(2, frozenset({0, 1}))) is None
    hour_ago = utc_now() - timedelta(hours=1)
    session.execute(update(HeartbeatRow).values(beat_at=hour_ago))
    note_stop(session, second)
    assert last_stop(session, Shards(2, frozenset({0, 1}))) == last_stop(session, first) == hour_ago
    assert (last_stop(session, second) or hour_ago) > hour_ago
    take_shards(session, ALL, HERE)  # nobody holds them


def test_after_a_crash_the_last_heartbeat_is_the_stop(session: Session) -> None:
    own = Shards(2, frozenset({0, 1}))
    take_shards(session, own, HERE)
    assert last_stop(session, own) is None
    minute_ago = utc_now() - timedelta(minutes=1)
    session.execute(update(HeartbeatRow).values(beat_at=minute_ago))
    take_shards(session, own, HERE)
    assert last_stop(session, own) == minute_ago
    note_stop(session, own)
    leave_shards(session, own, HERE)
    stopped = last_stop(session, own)
    take_shards(session, own, HERE)
    assert last_stop(session, own) == stopped


class TestTaken:
    def test_two_processes_with_shards_of_their_own(self, session: Session) -> None:
        take_shards(session, Shards(2, frozenset({0})), HERE)
        take_shards(session, Shards(2, frozenset({1})), ELSEWHERE)
        assert set(session.scalars(select(HeartbeatRow.process))) == {"bot 0/2", "bot 1/2"}

    @pytest.mark.parametrize(
        "other", [Shards(3, frozenset({1, 2})), Shards(4, frozenset({3})), ALL], ids=["same", "other count", "all"]
    )
    def test_a_process_that_would_answer_the_same_servers_is_refused(self, session: Session, other: Shards) -> None:
        take_shards(session, Shards(3, frozenset({0, 1})), HERE)
        with pytest.raises(
            ShardTaken, match=r"here:/data already runs 'bot [01]/3' on this database, .*discord\.shards"
        ) as refusal:
            take_shards(session, other, ELSEWHERE)
        assert refusal.value.exit_code == 2
        assert set(session.scalars(select(HeartbeatRow.worker))) == {HERE}

    def test_a_process_in_the_same_folder_is_refused_whatever_its_shards(self, session: Session) -> None:
        take_shards(session, ALL, HERE)
        with pytest.raises(ShardTaken, match="here:/data already runs 'bot'"):
            take_shards(session, Shards(2, frozenset({0})), HERE)
        leave_shards(session, ALL, HERE)
        take_shards(session, Shards(2, frozenset({0})), HERE)
        with pytest.raises(DataDirectoryInUse, match="another bot 0/2 is using here:/data: stop it first, or set data"):
            take_shards(session, Shards(2, frozenset({1})), HERE)

    def test_the_same_process_starts_again_at_once(self, session: Session) -> None:
        take_shards(session, ALL, HERE)
        take_shards(session, ALL, HERE)
        assert session.scalars(select(HeartbeatRow.process)).all().count(BOT) == 1

    def test_a_dead_process_keeps_nothing_for_long(self, session: Session) -> None:
        take_shards(session, ALL, HERE)
        session.execute(update(HeartbeatRow).values(beat_at=utc_now() - timedelta(seconds=SILENT_AFTER_S + 1)))
        take_shards(session, ALL, ELSEWHERE)
        assert ELSEWHERE in session.scalars(select(HeartbeatRow.worker)).all()

    def test_one_that_leaves_makes_room_at_once(self, session: Session) -> None:
        take_shards(session, ALL, HERE)
        leave_shards(session, ALL, HERE)
        take_shards(session, ALL, ELSEWHERE)
        assert session.scalars(select(HeartbeatRow.worker)).all() == [ELSEWHERE]
