"""Rows that must stand although the database is away: they are written as soon as it is back."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any

from sqlalchemy.orm import Session

from storage.connections import is_away
from storage.database import Database

log = logging.getLogger(__name__)

Spawn = Callable[[Coroutine[Any, Any, None], str], asyncio.Task[None]]
SHORTEST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 5.0


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
        pause_s = SHORTEST_PAUSE_S
        while self._waiting:
            work, then = self._waiting[0]
            try:
                await self._database.run(work)
            except Exception as error:
                if is_away(error):
                    log.warning("%d rows wait for the database; next try in %.1f s", len(self._waiting), pause_s)
                    await asyncio.sleep(pause_s)
                    pause_s = min(pause_s * 2, LONGEST_PAUSE_S)
                    continue
                log.exception("a row could not be written")
            else:
                then()
            self._waiting.popleft()
            pause_s = SHORTEST_PAUSE_S
