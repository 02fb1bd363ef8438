"""One database, SQLite or PostgreSQL: opened, migrated, and used through short transactions."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import URL, Connection, Engine, create_engine, event, func, make_url, select
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, OperationalError
from sqlalchemy.orm import Session, sessionmaker

from storage.errors import DatabaseError
from storage.settings import Settings

P = ParamSpec("P")
T = TypeVar("T")
MIGRATIONS = Path(__file__).parent / "migrations"
MIGRATION_LOCK = 7_226_538  # any number that nothing else on the server locks
CONNECT_TIMEOUT_S = 10
ADDRESSES = "write sqlite:///folder/file.db or postgresql+psycopg://user:password@host/name"


class Database:
    """Sessions on a migrated database; safe to share between threads."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._sessions = sessionmaker(engine, expire_on_commit=False)
        # SQLite reads one state per transaction anyway; PostgreSQL does so when it is asked.
        isolation = {"isolation_level": "REPEATABLE READ"} if engine.dialect.name == "postgresql" else {}
        self._readers = sessionmaker(engine.execution_options(read_only=True, **isolation), expire_on_commit=False)

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """Yield a session; commit at the end, or roll back on any exception."""
        with self._sessions.begin() as session:
            yield session

    @contextmanager
    def snapshot(self) -> Iterator[Session]:
        """Yield a session that reads one state of the database, neither waiting for writers nor holding them up."""
        with self._readers.begin() as session:
            yield session

    async def run(self, work: Callable[Concatenate[Session, P], T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Call `work(session, …)` in a transaction on a thread, so that the event loop is never blocked."""
        return await asyncio.to_thread(_within, self.transaction, work, *args, **kwargs)

    async def read(self, work: Callable[Concatenate[Session, P], T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Like `run`, for work that only reads."""
        return await asyncio.to_thread(_within, self.snapshot, work, *args, **kwargs)

    def close(self) -> None:
        self.engine.dispose()


def _within(
    transaction: Callable[[], AbstractContextManager[Session]],
    work: Callable[Concatenate[Session, P], T],
    /,
    *args: P.args,
    **kwargs: P.kwargs,
) -> T:
    with transaction() as session:
        return work(session, *args, **kwargs)


def open_database(settings: Settings) -> Database:
    """Connect and migrate to the newest schema.

    Raises DatabaseError, in a sentence, where the database is unreachable, locked, read-only or of a newer schema.
    """
    url = _parse(settings.database_url)
    if url.get_backend_name() == "sqlite":
        _make_parent(url)
    engine = _create(url, settings.database.busy_timeout_s)
    try:
        _migrate(engine)
    except DBAPIError as error:
        engine.dispose()
        raise DatabaseError(_sentence(url, error)) from error
    except DatabaseError:
        engine.dispose()
        raise
    return Database(engine)


def _parse(text: str) -> URL:
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        # Not chained: a wrongly quoted password would stand in the cause.
        raise DatabaseError(f"database.url is not a database address: {ADDRESSES}") from None
    if url.get_backend_name() not in ("sqlite", "postgresql"):
        raise DatabaseError(f"database.url begins with {url.drivername}, which Reactune does not speak: {ADDRESSES}")
    if url.get_backend_name() == "sqlite" and url.database in (None, "", ":memory:"):
        # Each thread would see a memory of its own.
        raise DatabaseError("database.url names no file: write sqlite:///folder/file.db")
    return url


def _make_parent(url: URL) -> None:
    if url.database is None or url.database.startswith("file:"):
        return
    parent = Path(url.database).parent
    try:
        parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DatabaseError(f"the folder {parent} for the database cannot be made: {error.strerror}") from error


def _create(url: URL, busy_timeout_s: float) -> Engine:
    try:
        # Parameters are hidden from errors: a log must not hold what members wrote.
        if url.get_backend_name() == "sqlite":
            engine = create_engine(url, hide_parameters=True, connect_args={"timeout": busy_timeout_s})
        else:
            engine = create_engine(
                url, hide_parameters=True, pool_pre_ping=True, connect_args={"connect_timeout": CONNECT_TIMEOUT_S}
            )
    except (NoSuchModuleError, ModuleNotFoundError) as error:
        raise DatabaseError(
            f"database.url needs a driver that is not installed ({error}): "
            "for PostgreSQL run `pip install 'reactune[postgres]'` and write postgresql+psycopg://…"
        ) from error
    if engine.dialect.is_async:
        raise DatabaseError(f"database.url names an asynchronous driver, {url.drivername}: {ADDRESSES}")
    if url.get_backend_name() == "sqlite":
        event.listen(engine, "connect", partial(_configure_sqlite, busy_timeout_s))
        event.listen(engine, "begin", _begin)
    return engine


def _configure_sqlite(busy_timeout_s: float, connection: Any, _record: Any) -> None:
    # Python's own transaction handling begins too late for BEGIN IMMEDIATE.
    connection.isolation_level = None
    cursor = connection.cursor()
    _use_wal(cursor, busy_timeout_s)
    cursor.execute("PRAGMA foreign_keys = ON")
    # FULL: a vote that was acknowledged survives a power cut, not only a crash.
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.close()


def _use_wal(cursor: sqlite3.Cursor, busy_timeout_s: float) -> None:
    """Switch the file to write-ahead logging, which SQLite refuses at once while another process switches it too."""
    give_up_at_s = time.monotonic() + busy_timeout_s
    while True:
        try:
            cursor.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > give_up_at_s:
                raise
        time.sleep(0.02)


def _begin(connection: Connection) -> None:
    # A read that later writes would fail at once with "database is locked"; IMMEDIATE waits its turn instead.
    read_only = connection.get_execution_options().get("read_only", False)
    connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")


def _migrate(engine: Engine) -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            # Bot and trainer start together; SQLite's transaction lets one in at a time by itself.
            connection.execute(select(func.pg_advisory_xact_lock(MIGRATION_LOCK)))
        _refuse_newer(MigrationContext.configure(connection).get_current_heads(), config)
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        _refuse_read_only(connection)


def _refuse_read_only(connection: Connection) -> None:
    """Write and take it back: SQLite lets BEGIN IMMEDIATE pass on a read-only file, and fails with the first vote."""
    with connection.begin_nested() as attempt:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = version_num")
        attempt.rollback()


def _refuse_newer(heads: tuple[str, ...], config: Config) -> None:
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    unknown = set(heads) - known
    if unknown:
        raise DatabaseError(
            f"the database was written by a newer Reactune (schema {', '.join(sorted(unknown))}): "
            "upgrade this program, or restore a backup made before the upgrade"
        )


def _sentence(url: URL, error: DBAPIError) -> str:
    where = url.difference_update_query(["password"]).render_as_string(hide_password=True)
    sqlite = url.get_backend_name() == "sqlite"
    detail = next(iter(str(error.orig).strip().splitlines()), type(error.orig).__name__)
    if "readonly" in detail or "read-only" in detail:
        remedy = "make its file and folder writable for this user" if sqlite else "use the primary server and a writer"
        return f"the database {where} is read-only: {remedy}"
    if "locked" in detail:
        return f"the database {where} stayed locked by another program: close it, or raise database.busy_timeout_s"
    if "not a database" in detail or "malformed" in detail:
        return f"the database {where} is damaged ({detail}): restore a backup"
    if "unable to open" in detail:
        return f"the database {where} cannot be opened: it must be a file that this user may read and write"
    if isinstance(error, OperationalError):
        remedy = "the disk" if sqlite else "database.url and that the server runs"
        return f"the database {where} cannot be used ({detail}): check {remedy}"
    return f"the database {where} refused a statement ({detail})"
