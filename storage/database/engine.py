"""Connections to SQLite and PostgreSQL: addresses, pools, limits, and temporary errors."""

from __future__ import annotations

import logging
import sqlite3
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import (
    ArgumentError,
    DBAPIError,
    InterfaceError,
    NoSuchModuleError,
    OperationalError,
    SQLAlchemyError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeout
from tenacity import Retrying

from storage.errors import DatabaseError, SettingsError
from storage.retrying import retries
from storage.settings.sections import DatabaseSettings

log = logging.getLogger(__name__)

CONNECT_TIMEOUT_S = 10
BUSY_TIMEOUT_S = 30.0
"""Time that SQLite waits for another writer: a round's longest transaction takes a few seconds on a slow disk."""
POOL_TIMEOUT_S = 30.0
POOL_RECYCLE_S = 1_800.0
"""Age in seconds at which a connection is replaced: firewalls and proxies drop those that seem abandoned."""
OVERFLOW = 2
"""Extra connections per pooled one when all are busy, as SQLAlchemy's defaults have it."""
LOCK_TIMEOUT_S = 30.0
IDLE_TRANSACTION_TIMEOUT_S = 300.0
"""Time after which PostgreSQL ends a transaction whose process hangs, so that its locks hold nobody up for ever."""
UNANSWERED_MS = 30_000
"""Time without acknowledgement after which a connection is closed; the default would wait an hour for a lost host."""
APPLICATION_NAME = "reactune"
ADDRESSES = "write sqlite:///folder/file.db or postgresql+psycopg://user:password@host/name"
SETTING = "database.url"

SERIALIZATION_FAILURE, DEADLOCK = "40001", "40P01"
READ_ONLY = "25006"
LOST = frozenset({"57P01", "57P02", "57P03", "57P05", "25P03"})  # shutdown, crash, starting up, idle for too long
WAITED_TOO_LONG = frozenset({"55P03", "57014"})
DAMAGED = "is damaged ({detail}): move its file away, then restore a backup"
FAILURES = (DBAPIError, PoolTimeout)
"""Errors of the database itself; SQLAlchemy has no common base class for the two."""


def parse_address(text: str, name: str = SETTING) -> URL:
    """Return the parsed database address; raises SettingsError with the setting's `name`."""
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        # Not chained, because the cause could contain a wrongly quoted password.
        raise SettingsError(f"{name} is not a database address: {ADDRESSES}") from None
    if url.get_backend_name() not in ("sqlite", "postgresql"):
        raise SettingsError(f"{name} starts with {url.drivername}, which Reactune does not support: {ADDRESSES}")
    if url.get_backend_name() == "sqlite" and url.database in (None, "", ":memory:"):
        # Each thread would get a separate database in memory.
        raise SettingsError(f"{name} names no file: write sqlite:///folder/file.db")
    return url


def create(url: URL, settings: DatabaseSettings, name: str = SETTING) -> Engine:
    """Return an engine for the address, without connecting."""
    try:
        # Errors hide parameters, because logs must not contain members' messages.
        if url.get_backend_name() == "sqlite":
            engine = create_engine(url, hide_parameters=True, connect_args={"timeout": _busy_timeout_s(url, name)})
        else:
            engine = create_engine(url, hide_parameters=True, **_pool(settings), connect_args=_postgres(url, settings))
    except (NoSuchModuleError, ModuleNotFoundError) as error:
        raise DatabaseError(
            f"{name} needs a driver that is not installed ({error}): "
            "for PostgreSQL run `pip install 'reactune[postgres]'` and write postgresql+psycopg://…"
        ) from error
    if engine.dialect.is_async:
        raise DatabaseError(f"{name} names an asynchronous driver, {url.drivername}: {ADDRESSES}")
    if url.get_backend_name() == "sqlite":
        event.listen(engine, "connect", partial(_configure_sqlite, _busy_timeout_s(url, name)))
        event.listen(engine, "begin", _begin)
    return engine


def _busy_timeout_s(url: URL, name: str) -> float:
    try:
        return float(url.query.get("timeout", BUSY_TIMEOUT_S))  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise SettingsError(f"{name} has a timeout that is not a number: write ?timeout=60, in seconds") from None


def _pool(settings: DatabaseSettings) -> dict[str, Any]:
    return {
        "pool_pre_ping": True,  # replaces connections that a restart or failover closed, before they are used
        "pool_size": settings.pool_size,
        "max_overflow": OVERFLOW * settings.pool_size,
        "pool_timeout": POOL_TIMEOUT_S,
        "pool_recycle": POOL_RECYCLE_S,
    }


def _postgres(url: URL, settings: DatabaseSettings) -> dict[str, Any]:
    limits_s = {
        "statement_timeout": settings.statement_timeout_s,
        "lock_timeout": LOCK_TIMEOUT_S,
        "idle_in_transaction_session_timeout": IDLE_TRANSACTION_TIMEOUT_S,
    }
    # A pooler that refuses `options` at the start needs none at all.
    wanted = limits_s if settings.statement_timeout_s else {}
    limits = [f"-c {name}={round(seconds * 1000)}" for name, seconds in wanted.items()]
    arguments: dict[str, Any] = {
        "connect_timeout": CONNECT_TIMEOUT_S,
        "tcp_user_timeout": UNANSWERED_MS,
        "fallback_application_name": APPLICATION_NAME,  # application_name in the address takes precedence
        # The last one wins: the operator's.
        "options": " ".join([*limits, *url.normalized_query.get("options", ())]),
    }
    if url.get_driver_name() == "psycopg":
        # With PgBouncer each transaction can get another connection, where earlier prepared statements do not exist.
        arguments["prepare_threshold"] = None
    return {key: value for key, value in arguments.items() if key == "options" or key not in url.query}


def _configure_sqlite(busy_timeout_s: float, connection: Any, _record: Any) -> None:
    # Python's own transaction handling would start the transaction too late for BEGIN IMMEDIATE.
    connection.isolation_level = None
    cursor = connection.cursor()
    _use_wal(cursor, busy_timeout_s)
    cursor.execute("PRAGMA foreign_keys = ON")
    # FULL: an acknowledged vote survives a power cut, not only a crash.
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.close()


def _use_wal(cursor: sqlite3.Cursor, busy_timeout_s: float) -> None:
    """Switch the file to write-ahead logging; retries, because SQLite fails at once if another process does it too."""
    report = partial(log.debug, "Another process is opening the database too (%s); retrying.")
    Retrying(**retries(_is_busy, report, busy_timeout_s))(cursor.execute, "PRAGMA journal_mode = WAL")


def _is_busy(error: BaseException) -> bool:
    return isinstance(error, sqlite3.OperationalError) and error.sqlite_errorcode == sqlite3.SQLITE_BUSY


def _begin(connection: Connection) -> None:
    # A transaction that reads and then writes could fail at once with "database is locked"; IMMEDIATE waits instead.
    read_only = connection.get_execution_options().get("read_only", False)
    connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")


def copy_file(connection: Connection, target: Path) -> None:
    """Write one state of an SQLite database, which others may be using, to a new file that only its owner can read.

    Raises OSError if the file cannot be written, for example on a full disk.
    """
    raw = connection.connection.dbapi_connection
    assert isinstance(raw, sqlite3.Connection)
    try:
        raw.execute("VACUUM INTO ?", (str(target),))
    except sqlite3.OperationalError as error:
        raise OSError(str(error)) from error
    target.chmod(0o600)


def make_parent(url: URL) -> None:
    """Create the folder of an SQLite file."""
    if (file := _file_of(url)) is None:
        return
    parent = file.parent
    try:
        parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DatabaseError(
            f"the database's folder {parent} cannot be created ({error.strerror}): choose another folder"
        ) from error


def identified(url: URL) -> str:
    """Return the address without its password; an SQLite file's name would be the same in another folder."""
    file = _file_of(url)
    return shown(url.set(database=str(file.resolve())) if file else url)


def _file_of(url: URL) -> Path | None:
    """Return the path of an SQLite file; None for a server, and for an address that SQLite reads itself."""
    is_path = url.get_backend_name() == "sqlite" and url.database and not url.database.startswith("file:")
    return Path(str(url.database)) if is_path else None


def shown(url: URL) -> str:
    """Return the address without its password, for messages."""
    return url.difference_update_query(["password"]).render_as_string(hide_password=True)


# Failures


def is_lost(error: DBAPIError) -> bool:
    """Return whether the connection to the server was lost or refused."""
    state = sql_state(error)
    # libpq sets no state for errors from before the server answered.
    unanswered = isinstance(error, OperationalError | InterfaceError) and hasattr(error.orig, "sqlstate") and not state
    return error.connection_invalidated or unanswered or state in LOST or (state or "").startswith("08")


def may_repeat(error: DBAPIError, *, committing: bool) -> bool:
    """Return whether the transaction certainly changed nothing and may succeed if it is repeated.

    If the connection was lost during the commit, the change may have been made.
    """
    state = sql_state(error)
    if state in (SERIALIZATION_FAILURE, DEADLOCK):
        return True
    return not committing and (is_lost(error) or state == READ_ONLY)


def is_away(error: BaseException) -> bool:
    """Return whether the database was unreachable, locked, busy or full, so that the same work may succeed later."""
    if isinstance(error, PoolTimeout | OperationalError | InterfaceError):
        return True
    if not isinstance(error, DBAPIError):
        return False
    return may_repeat(error, committing=False) or sql_state(error) in WAITED_TOO_LONG


def sql_state(error: DBAPIError) -> str | None:
    """Return PostgreSQL's five-character error code; None for SQLite."""
    return getattr(error.orig, "sqlstate", None)


def explain(error: SQLAlchemyError, url: URL | None = None) -> str:
    """Return one sentence with the database's problem and its remedy."""
    where = f"the database {shown(url)}" if url else "the database"
    if not isinstance(error, DBAPIError):
        remedy = "raise database.pool_size"
        return f"{where} has no free connection ({str(error).splitlines()[0]}): {remedy}"
    detail = next(iter(str(error.orig).strip().splitlines()), type(error.orig).__name__)
    return f"{where} {_what_happened(error, detail)}"


def _what_happened(error: DBAPIError, detail: str) -> str:
    sqlite = isinstance(error.orig, sqlite3.Error)
    if "readonly" in detail or "read-only" in detail:
        return "is read-only: " + (
            "make its file and folder writable for this user" if sqlite else "use the primary server and a writer"
        )
    if "locked" in detail:
        return "is locked by another program: close that program"
    if "not a database" in detail or "malformed" in detail:
        return DAMAGED.format(detail=detail)
    if "unable to open" in detail:
        return "cannot be opened: it must be a file that this user can read and write"
    if isinstance(error, OperationalError):
        return f"cannot be used ({detail}): {_remedy(error, is_sqlite=sqlite)}"
    return f"rejected a statement ({detail}): {_remedy_of_rejection(detail)}"


def _remedy_of_rejection(detail: str) -> str:
    if "permission denied" in detail:
        return "allow its user to create and alter tables"
    if "connection option" in detail:
        return "correct the options after the ? in its address"
    return "see the log; if it keeps happening, report it with the output of `reactune doctor`"


def _remedy(error: DBAPIError, *, is_sqlite: bool) -> str:
    if sql_state(error) in WAITED_TOO_LONG:
        return "raise database.statement_timeout_s, or ask the server what holds its locks"
    return "check the disk" if is_sqlite else "check its address, and that the server is running"
