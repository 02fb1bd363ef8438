"""A database moves from SQLite to PostgreSQL and back: every row, to the byte, or nothing."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from sqlalchemy import delete, func, select, text, update
from sqlalchemy.orm import Session

from storage.backups.copy import copy_rows, tables
from storage.database.database import Database, open_database
from storage.database.enums import DocumentKind
from storage.database.tables import Base, ChunkRow, DocumentRow, PersonalityRow, ReplyIdRow, ReplyRow, VoteEventRow
from storage.errors import CopyRefused
from storage.personalities.personalities import ensure_personality
from storage.votes.votes import Vote
from tests.postgres import PostgresServer
from tests.random_rows import fill
from tests.seeding import BOB, add_reply, vote
from tests.storage.backups.test_backup import quietly
from tests.storage.conftest import TEMPLATE, settings_for


@pytest.fixture
def back_on_sqlite(tmp_path: Path, migrated_file: Path) -> Iterator[Database]:
    shutil.copyfile(migrated_file, tmp_path / "back.db")
    with closing(open_database(settings_for(f"sqlite:///{tmp_path / 'back.db'}"))) as database:
        yield database


@pytest.fixture
def on_postgres(postgres: PostgresServer) -> Iterator[Database]:
    url = postgres.create("copy_target", TEMPLATE)
    with closing(open_database(settings_for(url))) as database:
        yield database
    postgres.drop("copy_target")


def contents(database: Database) -> dict[str, list[tuple[object, ...]]]:
    """Return every row of an SQLite file as it is stored."""
    with database.snapshot() as session:
        return {
            table.name: sorted((tuple(row) for row in session.execute(text(f"SELECT * FROM {table}"))), key=repr)
            for table in tables()
        }


def empty(database: Database) -> None:
    with database.transaction() as session:
        if database.engine.dialect.name == "postgresql":
            session.execute(text(f"TRUNCATE {', '.join(Base.metadata.tables)} CASCADE"))
            return
        session.execute(text("PRAGMA defer_foreign_keys = ON"))
        for table in tables():
            session.execute(delete(table))


@hypothesis_settings(max_examples=5, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32))
def test_rows_survive_the_way_to_postgres_and_back(
    on_sqlite: Database, on_postgres: Database, back_on_sqlite: Database, seed: int
) -> None:
    for database in (on_sqlite, on_postgres, back_on_sqlite):
        empty(database)
    with on_sqlite.transaction() as session:
        fill(session.connection(), tables(), Random(seed))
    there = copy_rows(on_sqlite, on_postgres, quietly)
    back = copy_rows(on_postgres, back_on_sqlite, quietly)
    assert there == back
    assert contents(back_on_sqlite) == contents(on_sqlite)


@pytest.fixture
def lived_in(on_sqlite: Database) -> Database:
    """A database with a voted answer and a searchable passage, whose last passage was removed."""
    with on_sqlite.transaction() as session:
        vote(session, add_reply(session), BOB, Vote.UP)
        document = DocumentRow(
            guild_id=1,
            title="Rules",
            kind=DocumentKind.TEXT,
            media_type="text/plain",
            text="x",
            digest="d",
            added_by="a",
        )
        session.add(document)
        session.flush()
        add_passage(session, "Dinner is at seven")
        session.delete(session.get_one(ChunkRow, add_passage(session, "removed later")))
    return on_sqlite


def add_passage(session: Session, words: str) -> int:
    chunk = ChunkRow(document_id=1, position=0, heading="Rules", text=words)
    session.add(chunk)
    session.flush()
    return chunk.id


def count_of(database: Database, row: type[Base]) -> int:
    with database.snapshot() as session:
        return session.query(row).count()


def test_rows_added_after_a_copy_do_not_collide(
    lived_in: Database, on_postgres: Database, back_on_sqlite: Database
) -> None:
    copy_rows(lived_in, on_postgres, quietly)
    copy_rows(on_postgres, back_on_sqlite, quietly)
    for database in (on_postgres, back_on_sqlite):
        with database.transaction() as session:
            reply_id = add_reply(session)
            vote(session, reply_id, BOB, Vote.DOWN)
            assert reply_id == 2
            assert add_passage(session, "new") == 3, "a reply may name the passage that was removed"


def test_ids_of_answers_and_votes_outgrow_32_bits(
    on_sqlite: Database, on_postgres: Database, back_on_sqlite: Database
) -> None:
    most = 2**31 - 1
    with on_sqlite.transaction() as session:
        session.execute(update(ReplyIdRow).values(highest=most))
        vote(session, add_reply(session), BOB, Vote.UP)
        session.execute(update(VoteEventRow).values(id=most))
    copy_rows(on_sqlite, on_postgres, quietly)
    with on_postgres.transaction() as session:
        reply_id = add_reply(session)
        vote(session, reply_id, BOB, Vote.DOWN)
        assert reply_id == most + 2
        assert session.scalar(select(func.max(VoteEventRow.id))) == most + 1
    copy_rows(on_postgres, back_on_sqlite, quietly)
    assert count_of(back_on_sqlite, VoteEventRow) == 2


def test_a_copy_can_be_searched(lived_in: Database, on_postgres: Database, back_on_sqlite: Database) -> None:
    copy_rows(lived_in, on_postgres, quietly)
    copy_rows(on_postgres, back_on_sqlite, quietly)
    with on_postgres.snapshot() as session:
        found = "SELECT id FROM chunks WHERE words @@ to_tsquery('english', 'dinners')"
        assert session.scalar(text(found)) == 1
    with back_on_sqlite.transaction() as session:
        assert session.scalar(text("SELECT rowid FROM chunk_words WHERE chunk_words MATCH 'dinners'")) == 1
        session.execute(text("INSERT INTO chunk_words (chunk_words, rank) VALUES ('integrity-check', 1)"))


def test_a_target_with_rows_is_refused_and_kept(lived_in: Database, on_postgres: Database) -> None:
    on_postgres.call(ensure_personality, "pirate")
    with pytest.raises(CopyRefused, match=r"the target already has rows: use an empty database \(table "):
        copy_rows(lived_in, on_postgres, quietly)
    assert (count_of(on_postgres, ReplyRow), count_of(on_postgres, PersonalityRow)) == (0, 1)


@pytest.mark.parametrize("last_words", ["vote_events: 1 rows", "vote_events: reading back"])
def test_an_interrupted_copy_leaves_the_target_empty(
    lived_in: Database, on_postgres: Database, last_words: str
) -> None:
    def interrupt(progress: str) -> None:
        if progress == last_words:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        copy_rows(lived_in, on_postgres, interrupt)
    assert count_of(on_postgres, ReplyRow) == 0
    copy_rows(lived_in, on_postgres, quietly)


def test_rows_written_during_a_copy_are_not_part_of_it(lived_in: Database, on_postgres: Database) -> None:
    def write(progress: str) -> None:
        if progress == "replies: 1 rows":
            with lived_in.transaction() as session:
                vote(session, add_reply(session), BOB, Vote.UP)

    copied = {done.table: done.rows for done in copy_rows(lived_in, on_postgres, write)}
    assert (copied["replies"], copied["vote_events"]) == (1, 1)
    assert count_of(lived_in, ReplyRow) == 2


def test_a_target_that_changes_rows_is_noticed(lived_in: Database, on_postgres: Database) -> None:
    body = "BEGIN NEW.user_id := 0; RETURN NEW; END"
    with on_postgres.transaction() as session:
        session.execute(text(f"CREATE FUNCTION forget() RETURNS trigger LANGUAGE plpgsql AS '{body}'"))
        session.execute(text("CREATE TRIGGER f BEFORE INSERT ON vote_events FOR EACH ROW EXECUTE FUNCTION forget()"))
    with pytest.raises(CopyRefused, match=r"the target holds 1 rows with digest .* \(table vote_events\)"):
        copy_rows(lived_in, on_postgres, quietly)
    assert count_of(on_postgres, VoteEventRow) == 0


def test_values_that_postgres_refuses_are_reported(lived_in: Database, on_postgres: Database) -> None:
    with lived_in.transaction() as session:
        session.add(PersonalityRow(name="a\0b"))
    with pytest.raises(CopyRefused, match=r"does not accept its rows \(.*NUL.*\) \(table personalities\)"):
        copy_rows(lived_in, on_postgres, quietly)
