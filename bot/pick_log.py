"""Picks in arenas on their way into the database: in order of arrival, retried until they are stored."""

from __future__ import annotations

import asyncio
import logging
from datetime import datetime

from sqlalchemy.exc import SQLAlchemyError

from bot.vote_log import LONGEST_PAUSE_S, SHORTEST_PAUSE_S
from storage.arenas import Gesture, pick
from storage.connections import is_away
from storage.database import Database

log = logging.getLogger(__name__)


class PickLog:
    def __init__(self, database: Database) -> None:
        self._database = database
        self._order = asyncio.Lock()  # lets tasks in by the order in which they came

    async def take(
        self,
        arena_id: int,
        user_id: int,
        place: int,
        gesture: Gesture,
        *,
        joined_at: datetime | None = None,
        reread: bool = False,
    ) -> int | None:
        """Store what a member did and return the place that they pick now, if any; see `storage.arenas.pick`.

        It is stored when this returns; while the database is away this waits. Raises ArenaClosed.
        """
        async with self._order:
            pause_s = SHORTEST_PAUSE_S
            while True:
                try:
                    return await self._database.run(
                        pick, arena_id, user_id, place, gesture, joined_at=joined_at, reread=reread
                    )
                except SQLAlchemyError as error:
                    if not is_away(error):
                        raise
                    log.warning("a pick waits for the database; next try in %.1f s", pause_s)
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * 2, LONGEST_PAUSE_S)
