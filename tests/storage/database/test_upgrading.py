"""Upgrading the program: every earlier database comes along whole, also when the upgrade is cut off half-way."""

from __future__ import annotations

import logging
import os
import signal
import stat
from contextlib import closing
from pathlib import Path
from random import Random
from typing import Any

import pytest
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, MetaData, Table, create_engine, event, select, text
from sqlalchemy.engine import Engine

from storage.database.database import open_database
from storage.database.engine import create, parse_address
from storage.database.migrate import MIGRATIONS, newest_schema
from storage.errors import DatabaseError
from storage.settings.sections import DatabaseSettings
from tests.random_rows import fill
from tests.storage.conftest import settings_for

CONFIG = Config()
CONFIG.set_main_option("script_location", str(MIGRATIONS))
REVISIONS = [script.revision for script in ScriptDirectory.from_config(CONFIG).walk_revisions()][::-1]
FIRST, EARLIER = REVISIONS[0], REVISIONS[:-1]
BEFORE_KEYS_OF_ROUNDS = {"rounds": ["parent_version_id"], "versions": ["parent_id", "round_id"]}

Rows = dict[str, dict[tuple[Any, ...], dict[str, Any]]]


def old_database(url: str, revision: str) -> Rows:
    """Make a database as an earlier program left it, with rows in every table, and return the rows."""
    engine = create(parse_address(url), DatabaseSettings())
    with engine.begin() as connection:
        CONFIG.attributes["connection"] = connection
        command.upgrade(CONFIG, revision)
        fill(connection, known_tables(connection), Random(revision))
    rows = read(engine)
    engine.dispose()
    assert sum(map(len, rows.values())) > len(rows), "most tables have rows"
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


@pytest.mark.parametrize("revision", EARLIER)
def test_a_database_of_every_earlier_program_comes_along_whole(empty_url: str, revision: str) -> None:
    before = old_database(empty_url, revision)
    with closing(open_database(settings_for(empty_url))) as database:
        after = read(database.engine)
    assert without_ids(after.pop("round_voters")) == without_ids(before.pop("round_voters", {}))
    for table, rows in before.items():
        for key, row in rows.items():
            assert {name: after[table][key][name] for name in row} == row, table


def without_ids(voters: dict[tuple[Any, ...], dict[str, Any]]) -> list[tuple[Any, ...]]:
    """Return what is kept of voters: in place of their ids stand keyed hashes since 0011."""
    return sorted((row["round_id"], row["share"], row["influence"]) for row in voters.values())


@pytest.mark.parametrize("statements", [3, 25])
def test_an_upgrade_that_is_killed_half_way_is_whole_with_the_next_start(empty_url: str, statements: int) -> None:
    before = old_database(empty_url, FIRST)
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


def _upgrade_and_die(url: str, statements: int) -> None:
    """In a process of its own: begin the upgrade, and end like a power cut in the middle of it."""
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


def test_the_file_from_before_an_upgrade_is_kept(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    url, kept = f"sqlite:///{tmp_path / 'reactune.db'}", tmp_path / f"reactune.db.before-{newest_schema()}"
    before = old_database(url, EARLIER[-1])
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


def test_an_older_program_refuses_the_database_of_a_newer_one(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'reactune.db'}"
    with closing(open_database(settings_for(url))) as database, database.transaction() as session:
        session.execute(text("UPDATE alembic_version SET version_num = '9999'"))  # what a later program leaves
    with pytest.raises(DatabaseError, match="restore a backup made before the upgrade"):
        open_database(settings_for(url))
