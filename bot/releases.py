"""Which version answers now: the champion, or what stands behind it when its files are damaged."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass

from sqlalchemy.orm import Session

from bot.engine import AdapterRef
from storage.adapters import AdapterStore, require_base
from storage.base_model import BaseModel
from storage.database import Database
from storage.errors import AdapterError
from storage.schema import CHAMPION, LAST_GOOD
from storage.versions import Version, name_of, read_alias

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
    """Reads the champion anew for every answer, so that a move takes effect with the next one."""

    def __init__(self, database: Database, store: AdapterStore, base: BaseModel, personality_id: int) -> None:
        self._database = database
        self._store = store
        self._base = base
        self._personality_id = personality_id
        self.problem: str | None = None

    async def current(self) -> Release:
        """Return the champion; where its files are refused, the last-good version, then the base model."""
        candidates = await self._database.read(self._candidates)
        return await asyncio.to_thread(self._first_usable, candidates)

    def open(self, version: Version | None) -> Release:
        """Return the version with its files checked; raises AdapterError."""
        if version is None:
            return BASE_RELEASE
        path = self._store.path(version.digest)
        require_base(path, self._base)
        return Release(version, AdapterRef(digest=version.digest, path=path))

    def _candidates(self, session: Session) -> list[Version | None]:
        names = (CHAMPION, LAST_GOOD)
        return [read_alias(session, self._personality_id, name).version for name in names]

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
