"""Writes rows even if the database is unreachable: in that case, as soon as it is back."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, TypeVar

from sqlalchemy.orm import Session
from tenacity import AsyncRetrying

from bot.background.tasks import BackgroundTasks
from storage.database.database import Database
from storage.database.engine import explain, is_away
from storage.retrying import retries

log = logging.getLogger(__name__)

T = TypeVar("T")


class WriteBehindQueue:
    """Writes rows in the order in which they were given."""

    def __init__(self, database: Database, tasks: BackgroundTasks) -> None:
        self._database = database
        self._tasks = tasks
        self._waiting: deque[tuple[Callable[[Session], Any], Callable[[], None]]] = deque()
        self._writing: asyncio.Task[None] | None = None

    async def write(self, work: Callable[[Session], T], then: Callable[[], None] = lambda: None) -> T | None:
        """Call `work(session)` in a transaction, then `then()`; return its result.

        If the database is unreachable, both are called in the background later, and None is returned. The work may be
        done twice, if its commit succeeded but the answer to it was lost.
        """
        if not self._waiting:
            try:
                result = await self._database.run(work)
            except Exception as error:
                if not is_away(error):
                    raise
            else:
                then()
                return result
        self._waiting.append((work, then))
        if self._writing is None or self._writing.done():
            self._writing = self._tasks.spawn(self._write_waiting(), "late rows")
        return None

    async def _write_waiting(self) -> None:
        while self._waiting:
            work, then = self._waiting[0]
            try:
                await retry_until_available(partial(self._database.run, work), "The first of the late rows")
            except Exception:
                log.exception("A row could not be written.")
            else:
                then()
            self._waiting.popleft()


async def retry_until_available(work: Callable[[], Awaitable[T]], what: str) -> T:
    """Await `work()`, again while the database is unreachable, and return its result; the log calls it `what`.

    The work may be done twice, if its commit succeeded but the answer to it was lost. Other errors are raised.
    """

    async def attempt() -> T:
        return await work()

    options = retries(is_away, lambda error: log.warning("%s waits: %s.", what, explain(error)))
    return await AsyncRetrying(**options)(attempt)
