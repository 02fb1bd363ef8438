"""PostgreSQL's NOTIFY: a transaction that moves an alias or adds a version wakes every bot once it is committed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from storage.database import Database

if TYPE_CHECKING:
    from psycopg import AsyncConnection

log = logging.getLogger(__name__)

CHANNEL = "reactune_releases"
PROOF_S = 5.0
SHORTEST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 30.0

Wake = Callable[[], Awaitable[None]]


class Deaf(Exception):
    """Notifications do not come through, as behind PgBouncer in transaction mode."""


def ring(session: Session) -> None:
    """Wake those who listen once this transaction is committed; SQLite has nobody to wake."""
    if session.get_bind().dialect.name == "postgresql":
        session.execute(select(func.pg_notify(CHANNEL, "")))


def can_listen(database: Database) -> bool:
    return database.engine.dialect.name == "postgresql" and database.engine.dialect.driver == "psycopg"


async def listen(database: Database, wake: Wake) -> None:
    """Call `wake` whenever `ring` was committed, and after each time that the connection was away.

    Whoever listens looks for themselves from time to time too: that is what remains while the connection is away.
    """
    from psycopg import Error

    pause_s = SHORTEST_PAUSE_S
    while True:
        try:
            connection = await _connect(database)
            async with connection:
                await _require_hearing(database, connection)
                pause_s = SHORTEST_PAUSE_S
                await wake()  # what happened while nobody listened
                async for _ in connection.notifies():
                    await wake()
        except Deaf:
            log.info("The database's notifications do not arrive (PgBouncer?): releases are noticed by looking.")
            return
        except (Error, SQLAlchemyError, OSError, TimeoutError) as error:
            log.debug("The database cannot be listened to (%s); trying again in %.0f s.", error, pause_s)
        await asyncio.sleep(pause_s)
        pause_s = min(2 * pause_s, LONGEST_PAUSE_S)


async def _connect(database: Database) -> AsyncConnection[Any]:
    from psycopg import AsyncConnection

    engine = database.engine
    arguments, options = engine.dialect.create_connect_args(engine.url)
    connection: AsyncConnection[Any] = await AsyncConnection.connect(*arguments, **options, autocommit=True)
    await connection.execute(f"LISTEN {CHANNEL}")
    return connection


async def _require_hearing(database: Database, connection: AsyncConnection[Any]) -> None:
    """Raise Deaf unless this connection hears what another one says."""
    await database.run(ring)
    async for _ in connection.notifies(timeout=PROOF_S, stop_after=1):
        return
    raise Deaf
