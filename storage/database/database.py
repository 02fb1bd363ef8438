"""The database: transactions that are retried, and notifications that wake every bot when a release moves."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, TypeVar

from sqlalchemy import Engine, func, select
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.orm import Session, sessionmaker
from tenacity import AsyncRetrying, Retrying, sleep_using_event

from storage.database.engine import (
    DAMAGED,
    READ_ONLY,
    SETTING,
    create,
    explain,
    make_parent,
    may_repeat,
    parse_address,
    shown,
    sql_state,
)
from storage.database.migrate import migrate
from storage.emoji import VoteEmoji
from storage.errors import DatabaseError
from storage.retrying import retries
from storage.settings.sections import DatabaseSettings, Settings, VoteSettings

if TYPE_CHECKING:
    from psycopg import Connection

log = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

CHANNEL = "reactune_releases"
PROOF_S = 5.0
TRANSACTION_RETRY_S = 30.0
"""Time for which a transaction is repeated after a lost connection or a conflict; a failover takes up to that."""
STOP_S = 0.5
"""Longest time that the listener takes to stop, in seconds."""
VOTE_EMOJI = "vote emoji"
SHIPPED = VoteSettings()


class NotificationsUnavailable(Exception):
    """Notifications do not arrive, for example behind PgBouncer in transaction mode."""


def notify(session: Session) -> None:
    """Wake the listeners when this transaction is committed; does nothing on SQLite."""
    if session.get_bind().dialect.name == "postgresql":
        session.execute(select(func.pg_notify(CHANNEL, "")))


def vote_emoji_of(session: Session) -> VoteEmoji:
    """Return the emoji that vote in this installation, with their weights."""
    emoji: VoteEmoji = session.info[VOTE_EMOJI]
    return emoji


def can_listen(database: Database) -> bool:
    return database.engine.dialect.name == "postgresql" and database.engine.dialect.driver == "psycopg"


class Listener(threading.Thread):
    """Calls `on_notify` on its thread after each committed `notify`, and after each (re)connection.

    Its users must also poll from time to time, because notifications are lost while the connection is down.
    """

    def __init__(self, database: Database, on_notify: Callable[[], object]) -> None:
        super().__init__(name="database listener", daemon=True)
        self._stopping = threading.Event()
        self._database = database
        self._on_notify = on_notify

    def stop(self) -> None:
        self._stopping.set()
        self.join()

    def run(self) -> None:
        report = partial(log.debug, "Cannot listen to the database (%s); retrying.")
        try:
            Retrying(**retries(_may_pass, report), sleep=sleep_using_event(self._stopping))(self._listen)
        except NotificationsUnavailable:
            log.info("Database notifications do not arrive (PgBouncer?), so the bot polls for releases instead.")

    def _listen(self) -> None:
        from psycopg import Connection

        if self._stopping.is_set():
            return
        engine = self._database.engine
        arguments, options = engine.dialect.create_connect_args(engine.url)
        with Connection.connect(*arguments, **options, autocommit=True) as connection:
            connection.execute(f"LISTEN {CHANNEL}")
            self._require_notifications(connection)
            self._on_notify()  # for notifications before the connection
            while not self._stopping.is_set():
                for _ in connection.notifies(timeout=STOP_S):
                    self._on_notify()

    def _require_notifications(self, connection: Connection[Any]) -> None:
        """Raise NotificationsUnavailable unless this connection receives a notification from another one."""
        self._database.call(notify)
        for _ in connection.notifies(timeout=PROOF_S, stop_after=1):
            return
        raise NotificationsUnavailable


def _may_pass(error: BaseException) -> bool:
    from psycopg import Error

    return isinstance(error, Error | SQLAlchemyError)


class Database:
    """Sessions on a migrated database; safe to share between threads."""

    def __init__(
        self, engine: Engine, retry_s: float = 0.0, votes: VoteSettings = SHIPPED, *, schema_before: str = ""
    ) -> None:
        """`votes` gives the vote emoji: every session knows them, because rows hold emoji, not their meaning."""
        self.engine = engine
        self.retry_s = retry_s
        self.schema_before = schema_before
        """The schema before the migration at its opening; empty for a new database."""
        info = {VOTE_EMOJI: VoteEmoji(votes.emoji)}
        self._sessions = sessionmaker(engine, expire_on_commit=False, info=info)
        # SQLite transactions always read one state of the database; PostgreSQL's must ask for it.
        isolation = {"isolation_level": "REPEATABLE READ"} if engine.dialect.name == "postgresql" else {}
        self._readers = sessionmaker(
            engine.execution_options(read_only=True, **isolation), expire_on_commit=False, info=info
        )

    def transaction(self) -> AbstractContextManager[Session]:
        """Return a session that is committed at the end of the block, or rolled back on any exception."""
        return self._sessions.begin()

    def snapshot(self) -> AbstractContextManager[Session]:
        """Return a session that reads one state of the database without waiting for writers or blocking them."""
        return self._readers.begin()

    async def run(self, work: Callable[Concatenate[Session, P], T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Call `work(session, …)` in a transaction on a thread, so that the event loop is never blocked.

        If the connection is lost before the commit, or two transactions conflict, nothing was changed and the work is
        called again, for up to `retry_s`. So it must have no effects outside the database. If the connection
        is lost during the commit, the change may have been made; that error is raised.
        """
        return await _Attempt(self, self._sessions, lambda session: work(session, *args, **kwargs)).run()

    async def read(self, work: Callable[Concatenate[Session, P], T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Like `run`, for work that only reads; it reads one state of the database."""
        return await _Attempt(self, self._readers, lambda session: work(session, *args, **kwargs)).run()

    def call(self, work: Callable[Concatenate[Session, P], T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Like `run`, on this thread."""
        return _Attempt(self, self._sessions, lambda session: work(session, *args, **kwargs)).call()

    def fetch(self, work: Callable[Concatenate[Session, P], T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Like `read`, on this thread."""
        return _Attempt(self, self._readers, lambda session: work(session, *args, **kwargs)).call()

    def close(self) -> None:
        self.engine.dispose()


class _Attempt(Generic[T]):
    """A transaction that is retried until it succeeds, fails for good, or the retry time is over."""

    def __init__(self, database: Database, sessions: sessionmaker[Session], work: Callable[[Session], T]) -> None:
        self._engine = database.engine
        self._sessions = sessions
        self._work = work
        self._is_committing = False
        self._retries = retries(
            self._may_pass, lambda error: log.warning("Retrying a transaction: %s.", explain(error)), database.retry_s
        )

    def call(self) -> T:
        return Retrying(**self._retries)(self._try)

    async def run(self) -> T:
        return await AsyncRetrying(**self._retries)(asyncio.to_thread, self._try)

    def _try(self) -> T:
        self._is_committing = False
        try:
            with self._sessions() as session:
                result = self._work(session)
                session.flush()
                self._is_committing = True
                session.commit()
        except DBAPIError as error:
            if sql_state(error) == READ_ONLY:
                self._engine.dispose()  # the primary became a standby: reconnect to find the new primary
            raise
        return result

    def _may_pass(self, error: BaseException) -> bool:
        return isinstance(error, DBAPIError) and may_repeat(error, committing=self._is_committing)


def open_database(settings: Settings) -> Database:
    """Connect and migrate to the newest schema.

    Raises DatabaseError if the database is unreachable, locked, read-only or has a newer schema.
    """
    return open_address(settings.database_url, settings.database, votes=settings.votes)


def open_address(
    address: str,
    settings: DatabaseSettings,
    name: str = SETTING,
    *,
    keep_copy: bool = True,
    votes: VoteSettings = SHIPPED,
) -> Database:
    """Like `open_database`, for any address; errors call it by `name`."""
    url = parse_address(address, name)
    make_parent(url)
    engine = create(url, settings, name)
    try:
        before = migrate(engine, keep_copy=keep_copy)
    except DBAPIError as error:
        engine.dispose()
        raise DatabaseError(explain(error, url)) from error
    except UnicodeDecodeError as error:  # SQLite's message quotes damaged bytes
        engine.dispose()
        raise DatabaseError(f"the database {shown(url)} {DAMAGED.format(detail='invalid text')}") from error
    except DatabaseError:
        engine.dispose()
        raise
    return Database(engine, TRANSACTION_RETRY_S, votes, schema_before=before)
