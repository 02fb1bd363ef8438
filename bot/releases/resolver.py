"""Chooses the version that answers a conversation."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy.orm import Session

from storage.adapters.folder_store import AS_TRAINED, AdapterRef, AdapterStore
from storage.database.database import Database
from storage.database.enums import CHAMPION, LAST_GOOD, CanaryStatus
from storage.errors import AdapterError
from storage.models.adapter_checks import require_base
from storage.models.base_model import BaseModel
from storage.releases.canaries import CANARY, Canary, canary_in, end_canary
from storage.releases.versions import Version, find_version, name_of, read_alias, require_files

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Release:
    """A version that is ready to answer; None is the base model without an adapter."""

    version: Version | None
    adapter: AdapterRef | None

    @property
    def name(self) -> str:
        return name_of(self.version)

    @property
    def strength(self) -> float:
        """Factor of the adapter's effect."""
        return self.adapter.strength if self.adapter else AS_TRAINED


BASE_RELEASE = Release(version=None, adapter=None)


def open_release(
    store: AdapterStore, base: BaseModel, version: Version | None, strength: float = AS_TRAINED
) -> Release:
    """Check the version's files and return it; raises AdapterError."""
    if version is None:
        return BASE_RELEASE
    require_files(version)
    path = store.path(version.digest)
    require_base(path, base)
    return Release(version, AdapterRef(digest=version.digest, path=path, strength=strength))


@dataclass(frozen=True)
class ReleaseCandidates:
    """Who may answer in a conversation, in order."""

    personality_id: int
    canary: Canary | None
    versions: tuple[Version | None, ...]


class ReleaseResolver:
    """Reads the aliases for every answer, so that a move takes effect with the next one."""

    def __init__(self, database: Database, store: AdapterStore, base: BaseModel) -> None:
        self._database = database
        self._store = store
        self._base = base
        self._problems: dict[int, str] = {}
        """{personality id: why its champion cannot answer}"""

    async def current(
        self, personality_id: int, conversation_id: int | None = None, *, strength: float = AS_TRAINED
    ) -> Release:
        """Return the challenger if it answers in this conversation, else the champion.

        If the challenger's files are damaged, its canary ends. If the champion's are, last-good answers, or the base.
        """
        candidates = await self._database.read(read_candidates, personality_id, conversation_id)
        return await self.choose(candidates, strength=strength)

    async def choose(self, candidates: ReleaseCandidates, *, strength: float = AS_TRAINED) -> Release:
        """Do what `current` does, with candidates that were read already."""
        canary = candidates.canary
        if canary is not None and (release := await self.open_challenger(canary, strength)) is not None:
            return release
        return await asyncio.to_thread(self._first_usable, candidates.personality_id, candidates.versions, strength)

    def problem_of(self, personality_id: int) -> str | None:
        """Return why the champion could not answer last time."""
        return self._problems.get(personality_id)

    async def open_challenger(self, canary: Canary, strength: float = AS_TRAINED) -> Release | None:
        """Check the challenger's files and return it; if they are damaged, end the canary and return None."""
        challenger = await self._database.read(find_version, canary.challenger_id)
        try:
            return await asyncio.to_thread(self.open, challenger, strength)
        except AdapterError as error:
            problem = f"{name_of(challenger)} cannot answer: {error}"
        if await self._database.run(end_canary, canary.id, CanaryStatus.ROLLED_BACK, by=CANARY, reason=problem):
            log.error("The canary was ended: %s", problem)
        return None

    def open(self, version: Version | None, strength: float = AS_TRAINED) -> Release:
        """Check the version's files and return it; raises AdapterError."""
        return open_release(self._store, self._base, version, strength)

    def _first_usable(self, personality_id: int, candidates: Sequence[Version | None], strength: float) -> Release:
        """Open the first version whose files are sound, else the base; remember and log the champion's problem."""
        problems = []
        for version in (*candidates, None):
            try:
                release = self.open(version, strength)
                break
            except AdapterError as error:
                problems.append(f"{name_of(version)} cannot answer: {error}")
        before = self._problems.pop(personality_id, None)
        if problems:
            self._problems[personality_id] = problems[0]
            if problems[0] != before:
                log.error("%s answers instead of the champion: %s", release.name, problems[0])
        return release


def read_candidates(session: Session, personality_id: int, conversation_id: int | None = None) -> ReleaseCandidates:
    """Return the canary, if the conversation is in its share, then the champion and the last-good version."""
    canary = None if conversation_id is None else canary_in(session, personality_id, conversation_id)
    versions = tuple(read_alias(session, personality_id, name).version for name in (CHAMPION, LAST_GOOD))
    return ReleaseCandidates(personality_id, canary, versions)
