"""Judges new versions by what people chose between them and the champion."""

from __future__ import annotations

import asyncio
import logging

from bot.releases.resolver import NotServed, cannot_answer
from bot.services import Services
from storage.database.engine import FAILURES
from storage.database.enums import CanaryStatus, GateVerdict
from storage.errors import AdapterError, StorageError
from storage.personalities.personalities import Personality, list_personalities
from storage.releases.canaries import CANARY, end_canary
from storage.releases.evidence import Contest, Decision, read_contest
from storage.releases.judging import conclude
from storage.releases.versions import note_evidence
from storage.sentences import Sentence
from storage.votes.quarantines import quarantine_bursts

log = logging.getLogger(__name__)

INTERVAL_S = 3.0


class Judge:
    """Looks every few seconds at what people chose between each champion and its rival."""

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
        version, canary = contest.rival.version, contest.rival.canary
        if canary is not None and (ending := await self._early_end(contest)):
            status, problem = ending
            await database.run(end_canary, canary.id, status, by=CANARY, reason=problem)
            log.error("The canary was ended: %s", problem)
            await self._services.release_watcher.poll()
        elif contest.decision is not None:
            # Votes of a burst must not decide: if there was one, the next look leaves them out.
            if not await asyncio.to_thread(quarantine_bursts, database, personality.id, settings.votes):
                await self._conclude(contest, contest.decision)
        elif version.verdict is GateVerdict.NOT_ENOUGH_EVIDENCE and contest.numbers != version.evidence:
            await database.run(note_evidence, version, contest.numbers)

    async def _early_end(self, contest: Contest) -> tuple[CanaryStatus, Sentence] | None:
        """Return how and why a canary ends of which one of the two versions cannot answer, if that is sure to last."""
        both = (contest.rival.version, CanaryStatus.ROLLED_BACK), (contest.champion, CanaryStatus.STOPPED)
        for version, status in both:
            try:
                await asyncio.to_thread(self._services.releases.open, version)
            except AdapterError as error:
                if isinstance(error, NotServed) and error.may_pass:
                    continue
                return status, cannot_answer(version, error)
        return None

    async def _conclude(self, contest: Contest, decision: Decision) -> None:
        if await self._services.database.run(conclude, contest, decision, self._services.settings.release):
            log.info("%s: %s", contest.rival.version.name, decision.reason)
            await self._services.release_watcher.poll()
