"""Ends canaries when their votes decide them, or when a challenger's files are damaged."""

from __future__ import annotations

import asyncio
import logging

from bot.services import Services
from storage.database.engine import FAILURES
from storage.errors import StorageError
from storage.personalities.personalities import Personality, list_personalities
from storage.releases.canaries import note_numbers
from storage.releases.canary_votes import Ending, Reading, read_canary
from storage.releases.promotion import conclude_canary
from storage.votes.quarantines import hold_back_bursts

log = logging.getLogger(__name__)

INTERVAL_S = 3.0


class CanaryEvaluator:
    def __init__(self, services: Services) -> None:
        self._services = services

    def start(self) -> None:
        self._repeating = self._services.tasks.repeat(self._evaluate_all, INTERVAL_S, "evaluate canaries")

    def stop(self) -> None:
        self._repeating.cancel()

    async def _evaluate_all(self) -> None:
        if self._services.shards.lead:
            for personality in await self._services.database.read(list_personalities, archived=None):
                await self._evaluate_safely(personality)

    async def _evaluate_safely(self, personality: Personality) -> None:
        """Evaluate one personality's canary; a failure does not stop the others."""
        try:
            await self._evaluate(personality)
        except FAILURES:
            raise
        except StorageError as error:
            log.warning("The canary of %s was not concluded and will be evaluated again: %s", personality.name, error)
        except Exception:
            log.exception("The canary of %s could not be evaluated; trying again.", personality.name)

    async def _evaluate(self, personality: Personality) -> None:
        database, votes = self._services.database, self._services.settings.votes
        reading = await database.read(read_canary, personality.id, votes)
        if reading is None:
            return
        if await self._services.releases.open_challenger(reading.canary) is None:
            await self._services.release_watcher.look()  # the canary has just ended
            return
        if reading.ending is not None:
            # Votes of a burst must not decide: if there was one, the next evaluation excludes it.
            if not await asyncio.to_thread(hold_back_bursts, database, personality.id, votes):
                await self._conclude(reading, reading.ending)
        elif reading.numbers != reading.canary.numbers:
            await database.run(note_numbers, reading.canary.id, reading.numbers)

    async def _conclude(self, reading: Reading, ending: Ending) -> None:
        if await self._services.database.run(conclude_canary, reading, ending):
            log.info("The canary of %s ended (%s): %s", reading.challenger.name, ending.status.value, ending.reason)
            await self._services.release_watcher.look()
