"""Rows that must stand although the database is away: they are written as soon as it is back."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import Any, TypeVar

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from storage.database.database import Database
from storage.database.engine import explain, is_away

log = logging.getLogger(__name__)


Spawn = Callable[[Coroutine[Any, Any, None], str], asyncio.Task[None]]


class LateRows:
    """Writes rows in the order in which they were given."""

    def __init__(self, database: Database, spawn: Spawn) -> None:
        self._database = database
        self._spawn = spawn
        self._waiting: deque[tuple[Callable[[Session], None], Callable[[], None]]] = deque()
        self._writing: asyncio.Task[None] | None = None

    async def write(self, work: Callable[[Session], None], then: Callable[[], None] = lambda: None) -> None:
        """Call `work(session)` in a transaction, then `then`; in the background where the database is away.

        The work may be done twice, where its commit came through and the answer to it did not.
        """
        if not self._waiting:
            try:
                await self._database.run(work)
            except Exception as error:
                if not is_away(error):
                    raise
            else:
                then()
                return
        self._waiting.append((work, then))
        if self._writing is None or self._writing.done():
            self._writing = self._spawn(self._write_waiting(), "late rows")

    async def _write_waiting(self) -> None:
        while self._waiting:
            work, then = self._waiting[0]
            try:
                await outlast(partial(self._database.run, work), f"The first of {len(self._waiting)} rows")
            except Exception:
                log.exception("a row could not be written")
            else:
                then()
            self._waiting.popleft()


T = TypeVar("T")
SHORTEST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 5.0


async def outlast(work: Callable[[], Awaitable[T]], what: str) -> T:
    """Await `work()`, anew for as long as the database is away, and return its result; `what` waits, says the log.

    The work may be done twice, where its commit came through and the answer to it did not. Other failures are raised.
    """
    pause_s = SHORTEST_PAUSE_S
    while True:
        try:
            return await work()
        except SQLAlchemyError as error:
            if not is_away(error):
                raise
            log.warning("%s waits for the database (%s); next try in %.1f s.", what, explain(error), pause_s)
        await asyncio.sleep(pause_s)
        pause_s = min(pause_s * 2, LONGEST_PAUSE_S)
