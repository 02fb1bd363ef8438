"""One database, SQLite or PostgreSQL: used through short transactions, which are tried again where that is safe."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Concatenate, Generic, ParamSpec, TypeVar

from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session, sessionmaker

from storage.database.engine import (
    READ_ONLY,
    SETTING,
    create,
    explain,
    make_parent,
    may_repeat,
    parse_address,
    sql_state,
)
from storage.database.migrate import migrate
from storage.errors import DatabaseError
from storage.settings.sections import DatabaseSettings, Settings

log = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")
SHORTEST_PAUSE_S = 0.05
LONGEST_PAUSE_S = 2.0


class Database:
    """Sessions on a migrated database; safe to share between threads."""

    def __init__(self, engine: Engine, retry_s: float = 0.0) -> None:
        self.engine = engine
        self.retry_s = retry_s
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
        """Call `work(session, …)` in a transaction on a thread, so that the event loop is never blocked.

        Where the connection is lost before the commit, or two transactions stood in each other's way, nothing has
        happened, and the work is called anew, for `database.retry_s`; so it changes nothing but the database. A commit
        whose answer was lost may have happened: that error is raised.
        """
        return await _patiently(_Attempt(self, self._sessions, lambda session: work(session, *args, **kwargs)))

    async def read(self, work: Callable[Concatenate[Session, P], T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Like `run`, for work that only reads."""
        return await _patiently(_Attempt(self, self._readers, lambda session: work(session, *args, **kwargs)))

    def call(self, work: Callable[Concatenate[Session, P], T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Like `run`, on this thread."""
        attempt = _Attempt(self, self._sessions, lambda session: work(session, *args, **kwargs))
        while not attempt.succeeds():
            time.sleep(attempt.pause_s)
        return attempt.result

    def close(self) -> None:
        self.engine.dispose()


class _Attempt(Generic[T]):
    """A transaction that is tried until it is through, certainly failed, or has been tried for too long."""

    result: T

    def __init__(self, database: Database, sessions: sessionmaker[Session], work: Callable[[Session], T]) -> None:
        self._engine = database.engine
        self._sessions = sessions
        self._work = work
        self._give_up_at_s = time.monotonic() + database.retry_s
        self.pause_s = 0.0
        """Before the next try."""

    def succeeds(self) -> bool:
        """Try once; return False where nothing was changed and another try is worth it."""
        is_committing = False
        try:
            with self._sessions() as session:
                self.result = self._work(session)
                session.flush()
                is_committing = True
                session.commit()
        except DBAPIError as error:
            if not may_repeat(error, committing=is_committing) or time.monotonic() > self._give_up_at_s:
                raise
            self._prepare(error)
            return False
        return True

    def _prepare(self, error: DBAPIError) -> None:
        if not self.pause_s:
            log.warning("A transaction is tried again: %s.", explain(error))
        if sql_state(error) == READ_ONLY:
            self._engine.dispose()  # what was the primary is a standby now: ask the address for the new one
        longest_s = min(2 * self.pause_s or SHORTEST_PAUSE_S, LONGEST_PAUSE_S)
        self.pause_s = longest_s * random.uniform(0.5, 1.0)  # two that met must not meet again


async def _patiently(attempt: _Attempt[T]) -> T:
    while not await asyncio.to_thread(attempt.succeeds):  # noqa: ASYNC110 (the server tells nobody when it is back)
        await asyncio.sleep(attempt.pause_s)
    return attempt.result


def open_database(settings: Settings) -> Database:
    """Connect and migrate to the newest schema.

    Raises DatabaseError, in a sentence, where the database is unreachable, locked, read-only or of a newer schema.
    """
    return open_address(settings.database_url, settings.database)


def open_address(address: str, settings: DatabaseSettings, name: str = SETTING, *, keep_copy: bool = True) -> Database:
    """Do what `open_database` does with another address, which errors call by `name`."""
    return open_migrated(address, settings, name, keep_copy=keep_copy)[0]


def open_migrated(
    address: str, settings: DatabaseSettings, name: str = SETTING, *, keep_copy: bool = True
) -> tuple[Database, str]:
    """Return the database and the schema that it had before; empty for a new one."""
    url = parse_address(address, name)
    make_parent(url)
    engine = create(url, settings, name)
    try:
        before = migrate(engine, keep_copy=keep_copy)
    except DBAPIError as error:
        engine.dispose()
        raise DatabaseError(explain(error, url)) from error
    except DatabaseError:
        engine.dispose()
        raise
    return Database(engine, settings.retry_s), before
