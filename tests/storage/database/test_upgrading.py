"""Upgrades keep every row of a database, even if the upgrade is killed half-way."""

from __future__ import annotations

import logging
import os
import re
import shutil
import signal
import stat
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from random import Random
from typing import Any

import pytest
from sqlalchemy import Connection, MetaData, Table, create_engine, event, select, text
from sqlalchemy.engine import Engine

from storage.database import migrate as migrating
from storage.database.database import open_database
from storage.database.migrate import MIGRATIONS, newest_schema
from storage.errors import DatabaseError
from tests.random_rows import fill
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
DEFINITIONS = {
    "sqlite": "SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL",
    "postgresql": "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'",
}
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


@pytest.mark.parametrize("statements", [1, 3])
def test_an_upgrade_that_is_killed_half_way_keeps_every_row_and_is_whole_with_the_next_start(
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
        for key, row in rows.items():
            assert {name: after[table][key][name] for name in row} == row, table
    assert after["mottos"].keys() == after["personalities"].keys() != set()


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


def test_a_database_of_schema_21_becomes_like_a_new_one_and_keeps_every_row(new_url: Callable[[], str]) -> None:
    old, new = new_url(), new_url()
    with closing(open_database(settings_for(old))) as database, database.engine.begin() as connection:
        return_to_21(connection)
        fill(connection, known_tables(connection), Random(SEED))
    engine = create_engine(old)
    before = read(engine)
    engine.dispose()
    assert before["reply_notes"]
    for table, name in (("rounds", "learned_from"), ("versions", "contest")):
        for row in before[table].values():
            row[name] = row.pop("evidence")
    with closing(open_database(settings_for(old))) as upgraded, closing(open_database(settings_for(new))) as created:
        assert definitions(upgraded.engine) == definitions(created.engine)
        assert read(upgraded.engine) == before


def return_to_21(connection: Connection) -> None:
    connection.execute(text("UPDATE alembic_version SET version_num = '21'"))
    connection.execute(text("ALTER TABLE rounds RENAME COLUMN learned_from TO evidence"))
    connection.execute(text("ALTER TABLE versions RENAME COLUMN contest TO evidence"))
    connection.execute(text("DROP INDEX ix_replies_author"))
    connection.execute(text("DROP INDEX ix_rounds_shown"))
    if connection.dialect.name == "sqlite":
        notes = connection.execute(text("SELECT sql FROM sqlite_master WHERE tbl_name = 'member_notes'")).scalars()
        statements = [sql.replace(" AUTOINCREMENT", "") for sql in notes]
        for statement in ("DROP TABLE member_notes", *statements):
            connection.execute(text(statement))


def definitions(engine: Engine) -> dict[str, list[str]]:
    """Return the parts of each table of SQLite, and of each index; their order differs from one creation to another."""
    with engine.connect() as connection:
        rows = connection.execute(text(DEFINITIONS[engine.dialect.name])).all()
    return {name: sorted(re.sub(r"[^\w,]", "", sql).split(",")) for name, sql in rows}


@pytest.mark.parametrize("schema", ["9999", "20"])
def test_a_database_of_an_unknown_schema_is_left_as_it_is(tmp_path: Path, schema: str) -> None:
    file = tmp_path / "reactune.db"
    with closing(open_database(settings_for(f"sqlite:///{file}"))) as database, database.transaction() as session:
        session.execute(text("UPDATE alembic_version SET version_num = :schema"), {"schema": schema})
    before = file.read_bytes()
    with pytest.raises(DatabaseError, match=f"schema {schema}"):
        open_database(settings_for(f"sqlite:///{file}"))
    assert list(tmp_path.iterdir()) == [file]
    assert file.read_bytes() == before
