"""Creates a database, or upgrades it to the newest schema after copying an SQLite file, in one transaction."""

from __future__ import annotations

import logging
import secrets
import sqlite3
import tempfile
from contextlib import closing
from functools import cache
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, MetaData, func, insert, select, text

from storage.database.engine import copy_file
from storage.database.tables import Base, PseudonymKeyRow, ReplyIdRow
from storage.errors import DatabaseError

log = logging.getLogger(__name__)

MIGRATIONS = Path(__file__).parent / "migrations"
MIGRATION_LOCK = 7_226_538  # an arbitrary number that nothing else on the server locks
REVISION = "SELECT version_num FROM alembic_version"
LAST_WITH_OLDER = "ec2e8892"
"""The last commit that upgrades schemas older than the first one here."""
PSEUDONYM_KEY_BYTES = 32

# An index over the chunks' own text (FTS5 calls it external content), kept in step by triggers.
SQLITE_WORDS = (
    "CREATE VIRTUAL TABLE chunk_words USING fts5("
    "heading, text, content='chunks', content_rowid='id', tokenize='porter unicode61 remove_diacritics 2')",
    "CREATE TRIGGER chunk_words_insert AFTER INSERT ON chunks BEGIN "
    "INSERT INTO chunk_words (rowid, heading, text) VALUES (new.id, new.heading, new.text); END",
    "CREATE TRIGGER chunk_words_delete AFTER DELETE ON chunks BEGIN "
    "INSERT INTO chunk_words (chunk_words, rowid, heading, text) VALUES ('delete', old.id, old.heading, old.text); END",
    "CREATE TRIGGER chunk_words_update AFTER UPDATE OF heading, text ON chunks BEGIN "
    "INSERT INTO chunk_words (chunk_words, rowid, heading, text) VALUES ('delete', old.id, old.heading, old.text); "
    "INSERT INTO chunk_words (rowid, heading, text) VALUES (new.id, new.heading, new.text); END",
)
POSTGRES_WORDS = (
    "ALTER TABLE chunks ADD COLUMN words tsvector GENERATED ALWAYS AS ("
    "setweight(to_tsvector('english', heading), 'A') || setweight(to_tsvector('english', text), 'B')) STORED",
    "CREATE INDEX ix_chunks_words ON chunks USING gin (words)",
)


@cache
def _scripts() -> ScriptDirectory:
    return ScriptDirectory.from_config(_config())


def newest_schema() -> str:
    """Return the schema that this program needs."""
    return str(_scripts().get_current_head())


def schema_of(connection: Connection) -> str:
    """Return the database's schema; empty for a new database."""
    return ", ".join(sorted(MigrationContext.configure(connection).get_current_heads()))


def migrate(engine: Engine, *, keep_copy: bool = True) -> str:
    """Upgrade the database to the newest schema, and return its previous schema; empty for a new database.

    It is one transaction on either kind of database, so a process that dies half-way leaves the old schema intact.
    """
    with engine.connect() as connection:
        if keep_copy and engine.dialect.name == "sqlite":
            _keep_copy(connection)
        with connection.begin():
            if engine.dialect.name == "postgresql":
                lift_limits(connection)
                # Bot and trainer start together. SQLite needs no lock, because it has one writer at a time.
                connection.execute(select(func.pg_advisory_xact_lock(MIGRATION_LOCK)))
            before = schema_of(connection)
            refuse_unknown(before)
            if not before:
                create_schema(connection)
                command.stamp(_config(connection), "head")
            elif before != newest_schema():
                command.upgrade(_config(connection), "head")
            _refuse_read_only(connection)
    if before and before != newest_schema():
        log.info("Upgraded the database from schema %s to %s.", before, newest_schema())
    return before


def create_schema(connection: Connection) -> None:
    """Create the newest schema from the tables; migrations only change databases of earlier releases.

    As in Alembic's cookbook, "Building an Up to Date Database from Scratch".
    """
    # Create a copy: SQLAlchemy leaves a key that is added after its table, as on PostgreSQL, out of every later CREATE
    # TABLE of the process, on SQLite too.
    tables = MetaData(naming_convention=Base.metadata.naming_convention)
    for table in Base.metadata.tables.values():
        table.to_metadata(tables)
    tables.create_all(connection, checkfirst=False)
    for statement in SQLITE_WORDS if connection.dialect.name == "sqlite" else POSTGRES_WORDS:
        connection.exec_driver_sql(statement)
    connection.execute(insert(ReplyIdRow).values(id=1, highest=0))
    connection.execute(insert(PseudonymKeyRow).values(id=1, key=secrets.token_bytes(PSEUDONYM_KEY_BYTES)))


def lift_limits(connection: Connection) -> None:
    """Remove the time limits of this PostgreSQL transaction, because it processes whole tables."""
    for limit in ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"):
        connection.execute(text(f"SET LOCAL {limit} = 0"))


def refuse_unknown(schema: str, what: str = "the database") -> None:
    """Raise DatabaseError if this program does not know the schema."""
    if schema in ("", newest_schema()):
        return
    known = {script.revision for script in _scripts().walk_revisions()}
    if set(schema.split(", ")) <= known:
        return
    if schema.startswith("00"):  # development versions, before "1" to "20"
        raise DatabaseError(f"{what} has schema {schema}, which no program can upgrade: start with a new database")
    first = str(_scripts().get_base())
    if schema.isdecimal() and int(schema) < int(first):
        raise DatabaseError(
            f"{what} has schema {schema}, and this program begins with {first}: bring it there with the last program "
            f"that can (`git checkout {LAST_WITH_OLDER}`, then `reactune db migrate`, or `reactune restore` and "
            "`reactune backup` for a backup), then use this one again"
        )
    raise DatabaseError(
        f"{what} was written by a newer Reactune (schema {schema}): "
        "upgrade this program, or restore a backup made before the upgrade"
    )


def _config(connection: Connection | None = None) -> Config:
    """Return Alembic's settings; changing a database needs its connection."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["connection"] = connection
    return config


def _refuse_read_only(connection: Connection) -> None:
    """Write and roll back, because SQLite accepts BEGIN IMMEDIATE on a read-only file and fails only at a write."""
    with connection.begin_nested() as attempt:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = version_num")
        attempt.rollback()


def _keep_copy(connection: Connection) -> None:
    """Copy an SQLite file of an older schema to `FILE.before-REVISION`; restore that file to downgrade."""
    raw = connection.connection.dbapi_connection
    assert isinstance(raw, sqlite3.Connection)
    file = Path(raw.execute("PRAGMA database_list").fetchone()[2])
    schema = _schema_in(file)
    refuse_unknown(schema)
    if schema in ("", newest_schema()):
        return
    kept = file.with_name(f"{file.name}.before-{newest_schema()}")
    with tempfile.TemporaryDirectory(dir=file.parent, prefix=".before-") as folder:
        copy = Path(folder) / file.name
        try:
            copy_file(connection, copy)
        except OSError as error:
            raise DatabaseError(
                f"{file} cannot be copied before the upgrade ({error}): free space for a second copy next to it"
            ) from error
        if _schema_in(copy) == newest_schema():
            return  # another process was faster and has made the copy
        copy.replace(kept)
    log.info(
        "Upgrading the database. A copy of the old one is in %s. Delete the copy once the new version works: it still "
        "contains data that members delete from now on.",
        kept,
    )


def _schema_in(file: Path) -> str:
    """Return the schema in an SQLite file; empty for a new or foreign one."""
    with closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True)) as connection:
        try:
            row = connection.execute(REVISION).fetchone()
        except sqlite3.OperationalError:
            return ""
    return str(row[0]) if row else ""
