"""Vote events in partitions: every vote is kept, and nothing else notices."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import delete, inspect, select, text

from storage.backups.copy import copy_rows
from storage.database.database import Database, open_database
from storage.database.tables import Base, ReplyRow, VoteEventRow
from storage.errors import DatabaseError
from storage.partitions import count_partitions, partition_votes
from storage.votes.votes import Vote, votes_on
from tests.postgres import PostgresServer
from tests.seeding import ALICE, BOB, add_reply, vote
from tests.storage.conftest import NUMBERS, TEMPLATE, settings_for
from tests.storage.database.test_database import downgrade, is_modelled


@pytest.fixture
def voted_on(postgres: PostgresServer) -> Iterator[Database]:
    """A database in which two members voted on 40 answers, and one took theirs back."""
    name = f"partitions_{next(NUMBERS)}"
    with closing(open_database(settings_for(postgres.create(name, TEMPLATE)))) as database:
        with database.transaction() as session:
            for _ in range(40):
                reply_id = add_reply(session)
                vote(session, reply_id, ALICE, Vote.UP)
                vote(session, reply_id, BOB, Vote.DOWN)
                vote(session, reply_id, BOB, Vote.DOWN, standing=False)
        yield database
    postgres.drop(name)


def events_of(database: Database) -> list[tuple[object, ...]]:
    with database.snapshot() as session:
        query = select(VoteEventRow.__table__).order_by(VoteEventRow.id)
        return [tuple(row) for row in session.execute(query)]


def test_every_vote_is_kept_and_the_next_ones_follow(voted_on: Database) -> None:
    before = events_of(voted_on)
    done = partition_votes(voted_on, 4)
    assert (done.is_new, done.partitions, done.events) == (True, 4, 120)
    assert events_of(voted_on) == before
    with voted_on.transaction() as session:
        vote(session, 1, BOB, Vote.UP)
        assert votes_on(session, 1) == {ALICE: Vote.UP, BOB: Vote.UP}
    assert len({event[0] for event in events_of(voted_on)}) == 121
    with voted_on.snapshot() as session:
        filled = session.execute(text("SELECT DISTINCT tableoid FROM vote_events")).all()
        assert len(filled) == 4


def test_a_second_time_changes_nothing(voted_on: Database) -> None:
    first = partition_votes(voted_on, 4)
    second = partition_votes(voted_on, 8)
    assert (second.is_new, second.partitions, second.digest) == (False, 4, first.digest)


def test_votes_go_with_their_reply(voted_on: Database) -> None:
    partition_votes(voted_on, 4)
    with voted_on.transaction() as session:
        session.execute(delete(ReplyRow).where(ReplyRow.id == 1))
    assert len(events_of(voted_on)) == 117


def test_models_and_migrations_agree_about_partitions(voted_on: Database) -> None:
    partition_votes(voted_on, 4)

    def is_ours(thing: object, name: str | None, *more: object) -> bool:
        return is_modelled(thing, name, *more) and not (name or "").startswith("vote_events_0")

    with voted_on.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"include_object": is_ours})
        assert compare_metadata(context, Base.metadata) == []


def test_migrations_run_on_partitions(voted_on: Database) -> None:
    partition_votes(voted_on, 4)
    before = events_of(voted_on)
    downgrade(voted_on, "0001")
    with closing(open_database(settings_for(voted_on.engine.url.render_as_string(hide_password=False)))) as database:
        assert events_of(database) == before
        with database.snapshot() as session:
            assert count_partitions(session.connection()) == 4
    downgrade(voted_on, "base")
    assert inspect(voted_on.engine).get_table_names() == ["alembic_version"]


def test_partitions_are_copied_like_any_table(voted_on: Database, postgres: PostgresServer) -> None:
    partition_votes(voted_on, 4)
    url = postgres.create("unpartitioned", TEMPLATE)
    with closing(open_database(settings_for(url))) as target:
        copy_rows(voted_on, target, lambda _progress: None)
        assert events_of(target) == events_of(voted_on)
        with target.transaction() as session:
            vote(session, 1, BOB, Vote.UP)
    postgres.drop("unpartitioned")


def test_sqlite_has_no_partitions(tmp_path) -> None:
    with (
        closing(open_database(settings_for(f"sqlite:///{tmp_path / 'reactune.db'}"))) as database,
        pytest.raises(
            DatabaseError, match="only PostgreSQL can partition vote events: move there with `reactune db copy`"
        ),
    ):
        partition_votes(database)
