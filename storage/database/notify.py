"""PostgreSQL NOTIFY: a committed transaction that moves an alias or adds a version wakes every bot."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session
from tenacity import Retrying, sleep_using_event

from storage.database.database import Database
from storage.retrying import retries

if TYPE_CHECKING:
    from psycopg import Connection

log = logging.getLogger(__name__)

CHANNEL = "reactune_releases"
PROOF_S = 5.0
STOP_S = 0.5
"""Maximum time that the listener takes to stop."""


class NotificationsUnavailable(Exception):
    """Notifications do not arrive, such as behind PgBouncer in transaction mode."""


def notify(session: Session) -> None:
    """Wake the listeners when this transaction is committed; does nothing on SQLite."""
    if session.get_bind().dialect.name == "postgresql":
        session.execute(select(func.pg_notify(CHANNEL, "")))


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
            self._on_notify()  # for what happened before the connection
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
