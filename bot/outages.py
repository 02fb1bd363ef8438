"""Work that must be done although the database is away: it is tried again until it is through."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from sqlalchemy.exc import SQLAlchemyError

from storage.database.engine import explain, is_away

T = TypeVar("T")
SHORTEST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 5.0

log = logging.getLogger(__name__)


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
