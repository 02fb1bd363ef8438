"""The bench of faults in small: one kill -9, and an oracle that notices what is lost."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from storage.conversations.replies import add_message
from storage.database.database import Database, open_database
from storage.settings.loading import load_settings
from storage.settings.sections import DatabaseSettings, Settings
from storage.votes.votes import Thumb, VoteEvent, append_events
from tests.benchmarks.faults.crowd import Crowd
from tests.benchmarks.faults.discord_wire import WireDiscord
from tests.benchmarks.faults.kills import kill_bots
from tests.benchmarks.faults.oracle import look
from tests.benchmarks.faults.report import grew
from tests.benchmarks.faults.trainer_kills import environment_of
from tests.seeding import add_reply, tiny_settings


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the bench forks")
def test_a_killed_bot_loses_nothing() -> None:
    row = kill_bots(1, seed=3)
    assert (row.times, row.lost) == (1, [])
    assert any(row.seen.get(what) for what in ("votes", "questions"))  # on a busy machine perhaps only one of them


@pytest.fixture
def database(tmp_path: Path, migrated_file: Path) -> Iterator[Database]:
    shutil.copyfile(migrated_file, tmp_path / "bot.db")
    with closing(open_database(Settings(database=DatabaseSettings(url=f"sqlite:///{tmp_path / 'bot.db'}")))) as opened:
        yield opened


def test_the_oracle_notices_a_vote_that_is_missing_and_a_message_without_a_reply(database: Database) -> None:
    crowd = Crowd(WireDiscord())
    backend, member = crowd.discord.backend, crowd.members[0]
    question = crowd.ask()
    answer = backend.create_message(
        question.channel_id,
        crowd.discord.bot_id,
        "rain is wet",
        reference={"message_id": str(question.id), "channel_id": str(question.channel_id)},
    )
    assert not look(database, crowd)
    backend.set_reaction(answer.channel_id, answer.id, "👍", member, True)
    assert "carries no reply, and 1 votes stand under it" in look(database, crowd)[0]
    with database.transaction() as session:
        reply_id = add_reply(session)
        add_message(session, reply_id, answer.id, answer.channel_id, 1)
    assert "1 votes missing" in look(database, crowd)[0]
    with database.transaction() as session:
        append_events(session, [VoteEvent(reply_id, Thumb(answer.id, member, "👍"), added=True)])
    assert not look(database, crowd)


def test_a_trainer_that_is_started_gets_its_settings_whole(tmp_path: Path) -> None:
    settings = tiny_settings(tmp_path, "base", schedule="0 4 * * *")
    found = load_settings(environment=environment_of(settings))
    assert found.model_dump(exclude={"console"}) == settings.model_dump(exclude={"console"})


def test_growth_after_the_warm_up_is_named() -> None:
    warming = [{"threads": 1.0}, {"threads": 9.0}, {"threads": 20.0}, {"threads": 20.0}, {"threads": 20.0}]
    assert grew("the bot", [*warming, {"threads": 21.0}]) == []
    assert grew("the bot", [*warming[:4], {"threads": 90.0}, {"threads": 95.0}]) == [
        "the bot: threads grew from 20 to 92.5"
    ]
