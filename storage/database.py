"""One database, SQLite or PostgreSQL: opened, migrated, and used through short transactions."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, TypeVar

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, OperationalError
from sqlalchemy.orm import Session, sessionmaker

from storage.errors import DatabaseError
from storage.settings import Settings

T = TypeVar("T")
MIGRATIONS = Path(__file__).parent / "migrations"


class Database:
    """Sessions on a migrated database; safe to share between threads."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._sessions = sessionmaker(engine, expire_on_commit=False)
        self._readers = sessionmaker(engine.execution_options(read_only=True), expire_on_commit=False)

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """Yield a session; commit at the end, or roll back on any exception."""
        with self._sessions.begin() as session:
            yield session

    @contextmanager
    def snapshot(self) -> Iterator[Session]:
        """Yield a session for reading alone; on SQLite it neither waits for writers nor holds them up."""
        with self._readers.begin() as session:
            yield session

    async def run(self, work: Callable[[Session], T]) -> T:
        """Run `work` in a transaction on a thread, so that the event loop is never blocked."""
        return await asyncio.to_thread(_within, self.transaction, work)

    async def read(self, work: Callable[[Session], T]) -> T:
        """Like `run`, for work that only reads."""
        return await asyncio.to_thread(_within, self.snapshot, work)

    def close(self) -> None:
        self.engine.dispose()


def _within(transaction: Callable[[], AbstractContextManager[Session]], work: Callable[[Session], T]) -> T:
    with transaction() as session:
        return work(session)


def open_database(settings: Settings) -> Database:
    """Connect and migrate to the newest schema.

    Raises DatabaseError, in a sentence, where the database is unreachable, locked, read-only or of a newer schema.
    """
    url = _parse(settings.database_url)
    if url.get_backend_name() == "sqlite":
        _make_parent(url)
    try:
        engine = _connect(url, settings.database.busy_timeout_s)
        _migrate(engine)
    except (NoSuchModuleError, ModuleNotFoundError) as error:
        raise DatabaseError(
            f"database.url needs a driver that is not installed ({error}): "
            "for PostgreSQL run `pip install 'reactune[postgres]'` and write postgresql+psycopg://…"
        ) from error
    except DBAPIError as error:
        raise DatabaseError(_sentence(url, error)) from error
    return Database(engine)


def _parse(text: str) -> URL:
    try:
        return make_url(text)
    except ArgumentError as error:
        raise DatabaseError(
            "database.url is not a database address: write sqlite:///folder/file.db "
            "or postgresql+psycopg://user:password@host/name"
        ) from error


def _make_parent(url: URL) -> None:
    if url.database and url.database != ":memory:":
        parent = Path(url.database).parent
        try:
            parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DatabaseError(f"the folder {parent} for the database cannot be made: {error.strerror}") from error


def _connect(url: URL, busy_timeout_s: float) -> Engine:
    if url.get_backend_name() != "sqlite":
        return create_engine(url, pool_pre_ping=True, connect_args={"connect_timeout": 10})
    engine = create_engine(url, connect_args={"timeout": busy_timeout_s})
    event.listen(engine, "connect", _configure_sqlite)
    event.listen(engine, "begin", _begin)
    return engine


def _configure_sqlite(connection: Any, _record: Any) -> None:
    # Python's own transaction handling begins too late for BEGIN IMMEDIATE.
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode = WAL")
    cursor.execute("PRAGMA foreign_keys = ON")
    # FULL: a vote that was acknowledged survives a power cut, not only a crash.
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.close()


def _begin(connection: Connection) -> None:
    # A read that later writes would fail at once with "database is locked"; IMMEDIATE waits its turn instead.
    read_only = connection.get_execution_options().get("read_only", False)
    connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")


def _migrate(engine: Engine) -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with engine.begin() as connection:
        _refuse_newer(MigrationContext.configure(connection).get_current_heads(), config)
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def _refuse_newer(heads: tuple[str, ...], config: Config) -> None:
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    unknown = set(heads) - known
    if unknown:
        raise DatabaseError(
            f"the database was written by a newer Reactune (schema {', '.join(sorted(unknown))}): "
            "upgrade this program, or restore a backup made before the upgrade"
        )


def _sentence(url: URL, error: DBAPIError) -> str:
    where = url.render_as_string(hide_password=True)
    detail = str(error.orig).strip().splitlines()[0] if error.orig else str(error)
    if "readonly" in detail or "read-only" in detail:
        return f"the database {where} is read-only: make its file and folder writable for this user"
    if "locked" in detail:
        return f"the database {where} stayed locked by another program: close it, or raise database.busy_timeout_s"
    if "not a database" in detail or "malformed" in detail:
        return f"the database {where} is damaged ({detail}): restore a backup"
    if isinstance(error, OperationalError):
        return f"the database {where} cannot be reached ({detail}): check database.url and that the server runs"
    return f"the database {where} refused a statement ({detail})"
