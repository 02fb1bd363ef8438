"""Picks in arenas on their way into the database: in order of arrival, retried until they are stored."""

from __future__ import annotations

import asyncio
from datetime import datetime
from functools import partial

from bot.outages import outlast
from storage.database.database import Database
from storage.votes.arenas import Gesture, pick


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
        work = partial(self._database.run, pick, arena_id, user_id, place, gesture, joined_at=joined_at, reread=reread)
        async with self._order:
            return await outlast(work, "A pick")
