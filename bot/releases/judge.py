"""Judges new versions by people's choices between them and the champion."""

from __future__ import annotations

import asyncio
import logging

from bot.services import Services
from storage.database.engine import FAILURES
from storage.errors import StorageError
from storage.personalities.personalities import Personality, list_personalities
from storage.releases.contests import read_contest
from storage.releases.promotion import conclude
from storage.releases.versions import note_contest
from storage.votes.quarantines import quarantine_bursts

log = logging.getLogger(__name__)

INTERVAL_S = 3.0


class Judge:
    """Checks every few seconds people's choices between each champion and its rival."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def start(self) -> None:
        self._services.tasks.repeat(self._judge_all, INTERVAL_S, "judge versions by people's choices")

    async def _judge_all(self) -> None:
        if self._services.shards.lead:
            for personality in await self._services.database.read(list_personalities, archived=None):
                await self._judge_safely(personality)

    async def _judge_safely(self, personality: Personality) -> None:
        """Judge one personality's newest version; a failure does not stop the others."""
        try:
            await self._judge(personality)
        except FAILURES:
            raise
        except StorageError as error:
            log.warning("The new version of %s was not judged; trying again: %s", personality.name, error)
        except Exception:
            log.exception("The new version of %s could not be judged; trying again.", personality.name)

    async def _judge(self, personality: Personality) -> None:
        database, settings = self._services.database, self._services.settings
        contest = await database.read(read_contest, personality.id, settings.votes)
        if contest is None:
            return
        if contest.decision is not None:
            # Votes of a burst must not decide: if there was one, the next look leaves them out.
            if await asyncio.to_thread(quarantine_bursts, database, personality.id, settings.votes):
                return
            if await database.run(conclude, contest, contest.decision, settings.release):
                log.info("%s: %s", contest.rival.name, contest.decision.reason)
                await self._services.release_watcher.poll()
        elif contest.numbers != contest.rival.contest:
            await database.run(note_contest, contest.rival, contest.numbers)
