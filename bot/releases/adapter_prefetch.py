"""Has the adapters that aliases name at hand, so that a roll-back needs no network."""

from __future__ import annotations

import asyncio
import logging

from bot.background.periodic import every
from storage.adapters.folder_store import AdapterStore
from storage.database.database import Database
from storage.database.engine import FAILURES, explain
from storage.releases.versions import aliased_digests

log = logging.getLogger(__name__)

LOOK_INTERVAL_S = 30.0


class AdaptersAtHand:
    def __init__(self, store: AdapterStore, database: Database) -> None:
        self._store = store
        self._database = database
        self._problems: list[str] = []

    def start(self) -> None:
        """Fetch what is missing, now and as aliases move."""
        self._look.start()

    def close(self) -> None:
        self._look.cancel()

    @every(seconds=LOOK_INTERVAL_S)
    async def _look(self) -> None:
        try:
            digests = await self._database.read(aliased_digests)
        except FAILURES as error:
            log.warning("Aliases cannot be looked up now: %s.", explain(error))
            return
        problems = await asyncio.to_thread(self._store.keep, digests)
        for problem in problems:
            if problem not in self._problems:
                log.warning("An adapter is not at hand: %s.", problem)
        self._problems = problems
