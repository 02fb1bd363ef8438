"""Upgrades keep every row of a database, even if the upgrade is killed half-way."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import stat
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from random import Random
from typing import Any

import pytest
from sqlalchemy import Connection, Inspector, MetaData, Table, create_engine, event, inspect, select, text
from sqlalchemy.engine import Engine

from storage.conversations.candidates import CandidateChoice, record_choice
from storage.database import migrate as migrating
from storage.database.database import open_database
from storage.database.enums import OPERATOR, GateVerdict, PairChoice, PairSource, Split
from storage.database.migrate import MIGRATIONS, newest_schema
from storage.database.tables import (
    AliasMoveRow,
    AliasRow,
    ComparisonRow,
    PersonalityRow,
    ReplyRow,
    SittingPairRow,
    VersionRow,
)
from storage.errors import DatabaseError
from storage.operations.console_sessions import begin_session, find_session
from storage.personalities.personalities import ensure_personality
from storage.privacy.notes import list_notes
from storage.releases.evidence import find_rival
from storage.releases.promotion import promote
from storage.releases.versions import find_version
from storage.sittings.sittings import begin_sitting
from storage.votes.comparisons import Better, compare
from storage.votes.votes import Thumb, VoteEvent, append_events, current_thumbs
from tests.past import add_round, add_version, pair
from tests.random_rows import fill
from tests.seeding import ALICE, add_reply, ask_twice, read_manifest
from tests.storage.conftest import settings_for

pytestmark = pytest.mark.both_databases

NEWEST = newest_schema()
SEED = 4  # leaves few tables empty
NEXT = "next"
NEXT_MIGRATION = f"""
import sqlalchemy as sa
from alembic import op

revision = "{NEXT}"
down_revision = "{NEWEST}"


def upgrade():
    op.add_column("personalities", sa.Column("motto", sa.Text, nullable=False, server_default="be kind"))
    op.create_table(
        "mottos",
        sa.Column("personality_id", sa.Integer, sa.ForeignKey("personalities.id"), primary_key=True),
        sa.Column("motto", sa.Text, nullable=False),
    )
    op.execute("INSERT INTO mottos (personality_id, motto) SELECT id, motto FROM personalities")
"""
BEFORE_KEYS_OF_ROUNDS = {"rounds": ["parent_version_id"], "versions": ["parent_id", "round_id"]}

Rows = dict[str, dict[tuple[Any, ...], dict[str, Any]]]


@pytest.fixture
def install_next(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[], None]]:
    """Let this process become the program of the next release, which has one more migration."""

    def install() -> None:
        folder = tmp_path_factory.mktemp("next") / "migrations"
        shutil.copytree(MIGRATIONS, folder, ignore=shutil.ignore_patterns("__pycache__"))
        (folder / "versions" / "next.py").write_text(NEXT_MIGRATION)
        monkeypatch.setattr(migrating, "MIGRATIONS", folder)
        migrating._scripts.cache_clear()

    yield install
    migrating._scripts.cache_clear()


def old_database(url: str) -> Rows:
    """Make a database as the program before the next release leaves it, with rows in every table; return the rows."""
    with closing(open_database(settings_for(url))) as database:
        with database.engine.begin() as connection:
            fill(connection, known_tables(connection), Random(SEED))
        rows = read(database.engine)
    assert sum(map(bool, rows.values())) > 0.8 * len(rows), "most tables have rows"
    return rows


def known_tables(connection: Connection) -> list[Table]:
    """Return the tables that the database has, each after those that it points at."""
    metadata = MetaData()
    metadata.reflect(connection, only=lambda name, _: name != "alembic_version" and not name.startswith("chunk_words"))
    for name, columns in BEFORE_KEYS_OF_ROUNDS.items():  # in a circle
        for key in metadata.tables[name].foreign_key_constraints:
            key.use_alter = any(column in columns for column in key.column_keys)
    return list(metadata.sorted_tables)


def key_names(table: Table) -> list[str]:
    return [column.name for column in table.primary_key.columns]


def read(engine: Engine) -> Rows:
    with engine.connect() as connection:
        return {
            table.name: {
                tuple(row[key] for key in key_names(table)): dict(row)
                for row in connection.execute(select(table)).mappings()
            }
            for table in known_tables(connection)
        }


def test_an_upgrade_keeps_every_row(empty_url: str, install_next: Callable[[], None]) -> None:
    before = old_database(empty_url)
    install_next()
    with closing(open_database(settings_for(empty_url))) as database:
        after = read(database.engine)
    for table, rows in before.items():
        for key, row in rows.items():
            assert {name: after[table][key][name] for name in row} == row, table
    assert after["mottos"].keys() == after["personalities"].keys() != set()


@pytest.mark.parametrize("statements", [1, 3])
def test_an_upgrade_that_is_killed_half_way_is_whole_with_the_next_start(
    empty_url: str, statements: int, install_next: Callable[[], None]
) -> None:
    before = old_database(empty_url)
    install_next()
    child = os.fork()
    if child == 0:
        _upgrade_and_die(empty_url, statements)
    _, status = os.waitpid(child, 0)
    assert os.WTERMSIG(status) == signal.SIGKILL
    engine = create_engine(empty_url)
    assert read(engine) == before
    engine.dispose()
    with closing(open_database(settings_for(empty_url))) as database:
        after = read(database.engine)
    for table, rows in before.items():
        assert rows.keys() <= after[table].keys(), table
    assert after["mottos"].keys() == after["personalities"].keys()


def _upgrade_and_die(url: str, statements: int) -> None:
    """Start the upgrade in a separate process and kill it half way, as a power cut would."""
    seen = []

    def count(_connection: Any, _cursor: Any, statement: str, *_more: Any) -> None:
        if statement.lstrip().upper().startswith(("CREATE", "ALTER", "INSERT", "UPDATE", "DROP")):
            seen.append(statement)
        if len(seen) >= statements:
            os.kill(os.getpid(), signal.SIGKILL)

    try:
        event.listen(Engine, "after_cursor_execute", count)
        open_database(settings_for(url))
    finally:
        os._exit(1)


def test_the_file_from_before_an_upgrade_is_kept(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, install_next: Callable[[], None]
) -> None:
    url, kept = f"sqlite:///{tmp_path / 'reactune.db'}", tmp_path / f"reactune.db.before-{NEXT}"
    before = old_database(url)
    install_next()
    with caplog.at_level(logging.INFO):
        open_database(settings_for(url)).close()
    assert str(kept) in caplog.text
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    engine = create_engine(f"sqlite:///{kept}")
    assert read(engine) == before
    engine.dispose()
    kept.unlink()
    open_database(settings_for(url)).close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["reactune.db"]


@pytest.mark.parametrize("schema", ["9999", "0007"])
def test_a_database_of_an_unknown_schema_is_left_as_it_is(tmp_path: Path, schema: str) -> None:
    file = tmp_path / "reactune.db"
    with closing(open_database(settings_for(f"sqlite:///{file}"))) as database, database.transaction() as session:
        session.execute(text("UPDATE alembic_version SET version_num = :schema"), {"schema": schema})
    before = file.read_bytes()
    with pytest.raises(DatabaseError, match=f"schema {schema}"):
        open_database(settings_for(f"sqlite:///{file}"))
    assert list(tmp_path.iterdir()) == [file]
    assert file.read_bytes() == before


def back_to_17(connection: Connection) -> None:
    """Take back what the migrations after the seventeenth did to the tables."""
    for column in ("follows_taste", "told_of_choosing", "told_of_teaching"):
        connection.execute(text(f"ALTER TABLE personalities DROP COLUMN {column}"))
    connection.execute(text("ALTER TABLE reply_measures DROP COLUMN relevance"))
    connection.execute(text("ALTER TABLE comparisons DROP COLUMN by_admin"))
    connection.execute(text("ALTER TABLE alerts ADD COLUMN lasts BOOLEAN DEFAULT TRUE NOT NULL"))
    connection.execute(
        text(
            "CREATE TABLE canaries (id INTEGER PRIMARY KEY, personality_id INTEGER, champion_id INTEGER, "
            "challenger_id INTEGER, days FLOAT, status VARCHAR(32))"
        )
    )
    connection.execute(text("CREATE TABLE follow_ups (reply_id INTEGER PRIMARY KEY)"))


def back_to_12(connection: Connection) -> None:
    """Take back what the migrations from the thirteenth on did to the tables."""
    back_to_17(connection)
    for table in (*APPEARANCES, *NOTES, "servers", "follow_ups", "answered_questions"):
        connection.execute(text(f"DROP TABLE {table}"))
    for table, column in (("personalities", "picture_digest"), ("member_notes", "guild_id")):
        connection.execute(text(f"ALTER TABLE {table} DROP COLUMN {column}"))


def back_to(connection: Connection, schema: str) -> None:
    """Take back what the migrations after a schema did to the tables."""
    back_to_12(connection)
    for table in (*CONSOLE, "base_uses"):
        connection.execute(text(f"DROP TABLE {table}"))
    for index in ("ix_replies_origin", "ix_replies_source_message"):
        connection.execute(text(f"DROP INDEX {index}"))
    for table, column in (("versions", "evidence"), ("canaries", "days"), *DECISIONS, OUTSIDE_TEXT):
        connection.execute(text(f"ALTER TABLE {table} DROP COLUMN {column}"))
    for column in ("alpha FLOAT", "max_votes INTEGER"):
        connection.execute(text(f"ALTER TABLE canaries ADD COLUMN {column} NOT NULL DEFAULT 1"))
    connection.execute(text("ALTER TABLE round_pairs ADD COLUMN replayed BOOLEAN DEFAULT FALSE NOT NULL"))
    if schema == "1":
        for table in TASTE:
            connection.execute(text(f"DROP TABLE {table}"))
    connection.execute(text("UPDATE alembic_version SET version_num = :schema"), {"schema": schema})


DECISIONS = (("versions", "decided_at"), ("versions", "announced"))
OUTSIDE_TEXT = ("replies", "has_outside_text")
TASTE = ("reply_measures", "reply_choices", "comparisons", "opt_outs")
APPEARANCES = ("pictures", "webhooks")
NOTES = ("reply_notes", "fact_questions", "note_opt_outs")
CONSOLE = ("console_sessions", "own_prompts", "sitting_pairs", "sittings")


def test_a_database_of_the_first_schema_gets_the_tables_of_later_ones(empty_url: str) -> None:
    later = [*TASTE, *CONSOLE, "base_uses", *APPEARANCES, *NOTES, "servers", "answered_questions"]
    with closing(open_database(settings_for(empty_url))) as database, database.engine.begin() as connection:
        new = {name: _shape(inspect(connection), name) for name in later}
        back_to(connection, "1")
        assert not set(later) & set(inspect(connection).get_table_names())
    with closing(open_database(settings_for(empty_url))) as database, database.engine.connect() as connection:
        assert {name: _shape(inspect(connection), name) for name in later} == new


def _shape(inspector: Inspector, table: str) -> dict[str, object]:
    """Return a table's columns, the names of its indexes, and its foreign keys."""
    keys = inspector.get_foreign_keys(table)
    return {
        "columns": {one["name"]: (str(one["type"]), one["nullable"]) for one in inspector.get_columns(table)},
        "indexes": {index["name"] for index in inspector.get_indexes(table)},
        "keys": sorted((key["constrained_columns"], key["referred_table"], str(key["options"])) for key in keys),
    }


def test_a_database_of_the_second_schema_keeps_its_versions(empty_url: str) -> None:
    with closing(open_database(settings_for(empty_url))) as database, database.engine.begin() as connection:
        fill(connection, known_tables(connection), Random(SEED))
        back_to(connection, "2")
        before = {name: connection.execute(text(f"SELECT id FROM {name} ORDER BY id")).all() for name in UPGRADED}
    with closing(open_database(settings_for(empty_url))) as database, database.engine.connect() as connection:
        ids = {name: connection.execute(text(f"SELECT id FROM {name} ORDER BY id")).all() for name in UPGRADED}
        assert ids == before
        assert all(evidence == {} for evidence in connection.scalars(select(VersionRow.evidence)))
        decisions = connection.execute(select(VersionRow.decided_at, VersionRow.announced)).all()
        assert set(decisions) == {(None, False)}
        assert set(connection.scalars(select(ReplyRow.has_outside_text))) == {False}


UPGRADED = ("versions",)


def test_a_canary_becomes_a_version_that_waits_and_sitters_are_admins(empty_url: str) -> None:
    settings = settings_for(empty_url)
    with closing(open_database(settings)) as database, database.transaction() as session:
        personality_id = ensure_personality(session)
        old, champion, tried = (add_version(session, None) for _ in range(3))
        promote(session, personality_id, champion, expected_generation=0, by="ann", reason="")
        pairs = [ask_twice(session, tried, champion) for _ in range(2)]
        for pair in pairs:
            compare(session, *pair, ALICE, Better.FIRST)
        sitting = begin_sitting(session, personality_id, ALICE)
        row = SittingPairRow(sitting_id=sitting.id, prompt="?", first_id=pairs[0][0], second_id=pairs[0][1])
        row.chosen_by = PairChoice.CHANCE
        session.add(row)
        session.flush()
        connection = session.connection()
        back_to_17(connection)
        for version in (old, tried):
            connection.execute(
                text("INSERT INTO canaries (id, challenger_id, status) VALUES (:id, :id, 'running')"),
                {"id": version.id},
            )
        connection.execute(text("UPDATE alias_moves SET moved_by = 'the canary'"))
        connection.execute(text("INSERT INTO aliases (personality_id, name, generation) VALUES (1, 'challenger', 4)"))
        connection.execute(text("UPDATE alembic_version SET version_num = '17'"))
    with closing(open_database(settings)) as database, database.snapshot() as session:
        assert find_rival(session, personality_id) == find_version(session, tried.id)
        kept = find_version(session, old.id)
        assert kept is not None
        assert kept.verdict is GateVerdict.PASS, "it is older than the champion"
        assert set(session.scalars(select(AliasMoveRow.moved_by))) == {"people's choices"}
        assert set(session.scalars(select(AliasRow.name))) == {"champion", "last-good"}
        chosen = session.execute(select(ComparisonRow.first_id, ComparisonRow.by_admin)).all()
        assert dict(chosen) == {pairs[0][0]: True, pairs[1][0]: False}


def test_whoever_has_met_a_taste_that_acts_is_not_told_that_it_begins(empty_url: str) -> None:
    with closing(open_database(settings_for(empty_url))) as database, database.transaction() as session:
        chooses = [ensure_personality(session, name) for name in ("default", "keeper", "owl")][1]
        chosen = add_reply(session, personality_id=chooses)
        record_choice(session, chosen, CandidateChoice((0.1, 0.2), 1, 0.9))
        reply = add_reply(session)
        add_round(session, 0, [pair(reply, reply, source=PairSource.TASTE)])
        session.flush()
        connection = session.connection()
        back_to_17(connection)
        connection.execute(text("UPDATE alembic_version SET version_num = '17'"))
    with closing(open_database(settings_for(empty_url))) as database, database.snapshot() as session:
        found = session.scalars(select(PersonalityRow).order_by(PersonalityRow.id)).all()
        assert [(one.follows_taste, one.told_of_choosing, one.told_of_teaching) for one in found] == [
            (True, False, True),
            (True, True, False),
            (True, False, False),
        ]


def test_whoever_is_signed_in_to_the_console_stays_so_as_the_operator(empty_url: str) -> None:
    with closing(open_database(settings_for(empty_url))) as database:
        secret = database.call(begin_session, OPERATOR, "somebody")
        with database.transaction() as session:
            back_to_12(session.connection())
            session.execute(text("DROP TABLE base_uses"))
            for table, column in (("console_sessions", "servers"), OUTSIDE_TEXT):
                session.execute(text(f"ALTER TABLE {table} DROP COLUMN {column}"))
            session.execute(text("UPDATE alembic_version SET version_num = '8'"))
    with closing(open_database(settings_for(empty_url))) as database, database.snapshot() as session:
        found = find_session(session, secret)
        assert found is not None
        assert found.servers is None


def test_a_servers_own_emoji_can_vote_after_an_upgrade(empty_url: str) -> None:
    emoji = "1" * 20
    with closing(open_database(settings_for(empty_url))) as database, database.engine.begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(text("ALTER TABLE vote_events ALTER COLUMN emoji TYPE VARCHAR(16)"))
        back_to_12(connection)
        connection.execute(text("ALTER TABLE replies DROP COLUMN has_outside_text"))
        connection.execute(text("UPDATE alembic_version SET version_num = '10'"))
    with closing(open_database(settings_for(empty_url))) as database, database.transaction() as session:
        reply_id = add_reply(session)
        append_events(session, [VoteEvent(reply_id, Thumb(1, 2, emoji), added=True)])
        assert {one.emoji for one in current_thumbs(session, [reply_id])} == {emoji}


def test_notes_of_earlier_releases_are_used_everywhere(empty_url: str) -> None:
    with closing(open_database(settings_for(empty_url))) as database, database.engine.begin() as connection:
        back_to_12(connection)
        connection.execute(
            text("INSERT INTO member_notes (user_id, text, created_at) VALUES (7, 'likes tea', '2026-11-01 00:00:00')")
        )
        connection.execute(text("UPDATE alembic_version SET version_num = '12'"))
    with closing(open_database(settings_for(empty_url))) as database, database.snapshot() as session:
        for guild_id in (None, 71, 72):
            assert [note.text for note in list_notes(session, 7, guild_id)] == ["likes tea"]


def test_pairs_of_earlier_rounds_keep_their_place_in_a_lineage(empty_url: str) -> None:
    """Pairs that were held out, repeated or completed by a model that is gone."""
    with closing(open_database(settings_for(empty_url))) as database:
        with database.transaction() as session:
            reply = add_reply(session)
            lines = [pair(reply, reply, source=PairSource.TASTE), pair(reply, reply, split=Split.VALIDATION)]
            add_round(session, 0, lines)
        with database.engine.begin() as connection:
            connection.execute(text("UPDATE round_pairs SET source = 'lone vote' WHERE source = 'taste'"))
            connection.execute(text("UPDATE round_pairs SET split = 'holdout' WHERE split = 'validation'"))
            back_to(connection, "2")
    with closing(open_database(settings_for(empty_url))) as database, database.snapshot() as session:
        assert [(line.source, line.split) for line in read_manifest(session, 1)] == [
            (PairSource.TASTE, Split.TRAIN),
            (PairSource.SIBLINGS, Split.VALIDATION),
        ]
