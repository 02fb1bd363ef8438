"""Which version answers now: champion or challenger, or what stands behind them when files are damaged."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass

from sqlalchemy.orm import Session

from bot.engine import AdapterRef
from storage.adapters import AdapterStore, require_base
from storage.base_model import BaseModel
from storage.canaries import CANARY, Canary, canary_in
from storage.database import Database
from storage.errors import AdapterError
from storage.schema import CHAMPION, LAST_GOOD, CanaryStatus
from storage.versions import Version, end_canary, find_version, name_of, read_alias

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Release:
    """A version ready to answer; no version is the base model without an adapter."""

    version: Version | None
    adapter: AdapterRef | None

    @property
    def name(self) -> str:
        return name_of(self.version)


BASE_RELEASE = Release(version=None, adapter=None)


class Releases:
    """Reads the aliases anew for every answer, so that a move takes effect with the next one."""

    def __init__(self, database: Database, store: AdapterStore, base: BaseModel, personality_id: int) -> None:
        self._database = database
        self._store = store
        self._base = base
        self._personality_id = personality_id
        self.problem: str | None = None

    async def current(self, conversation_id: int | None = None) -> Release:
        """Return the challenger in its share of conversations, else the champion.

        Where a challenger's files are refused its canary ends; where a champion's are, the last-good version answers,
        then the base model.
        """
        canary, versions = await self._database.read(self._candidates, conversation_id)
        if canary is not None and (release := await self.open_challenger(canary)) is not None:
            return release
        return await asyncio.to_thread(self._first_usable, versions)

    async def open_challenger(self, canary: Canary) -> Release | None:
        """Return the challenger with its files checked; where they are refused, end the canary and return None."""
        challenger = await self._database.read(find_version, canary.challenger_id)
        try:
            return await asyncio.to_thread(self.open, challenger)
        except AdapterError as error:
            problem = f"{name_of(challenger)} cannot answer: {error}"
        if await self._database.run(end_canary, canary.id, CanaryStatus.ROLLED_BACK, by=CANARY, reason=problem):
            log.error("The canary ends, because %s.", problem)
        return None

    def open(self, version: Version | None) -> Release:
        """Return the version with its files checked; raises AdapterError."""
        if version is None:
            return BASE_RELEASE
        path = self._store.path(version.digest)
        require_base(path, self._base)
        return Release(version, AdapterRef(digest=version.digest, path=path))

    def _candidates(self, session: Session, conversation_id: int | None) -> tuple[Canary | None, list[Version | None]]:
        """Return the canary if the conversation is one of its own, and whom else to ask in order."""
        personality = self._personality_id
        canary = None if conversation_id is None else canary_in(session, personality, conversation_id)
        return canary, [read_alias(session, personality, name).version for name in (CHAMPION, LAST_GOOD)]

    def _first_usable(self, candidates: list[Version | None]) -> Release:
        problem = None
        for version in candidates:
            try:
                release = self.open(version)
            except AdapterError as error:
                problem = problem or f"{name_of(version)} cannot answer: {error}"
            else:
                break
        else:
            release = BASE_RELEASE
        if problem and problem != self.problem:
            log.error("%s. %s answers instead.", problem, release.name)
        self.problem = problem
        return release
