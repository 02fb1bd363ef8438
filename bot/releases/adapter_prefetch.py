"""Has the adapters that aliases name at hand, so that a roll-back needs no network."""

from __future__ import annotations

import asyncio
import logging

from bot.background.periodic import Repeat
from storage.adapters.folder_store import AdapterStore
from storage.database.database import Database
from storage.releases.versions import aliased_digests

log = logging.getLogger(__name__)

LOOK_INTERVAL_S = 30.0


class AdapterPrefetch:
    def __init__(self, store: AdapterStore, database: Database, repeat: Repeat) -> None:
        """Fetch what is missing, now and as aliases move, until `close`."""
        self._store = store
        self._database = database
        self._problems: list[str] = []
        self._looking = repeat(self._look, LOOK_INTERVAL_S, "fetch adapters ahead")

    def close(self) -> None:
        self._looking.cancel()

    async def _look(self) -> None:
        digests = await self._database.read(aliased_digests)
        problems = await asyncio.to_thread(self._store.keep, digests)
        for problem in problems:
            if problem not in self._problems:
                log.warning("An adapter is not at hand: %s.", problem)
        self._problems = problems
