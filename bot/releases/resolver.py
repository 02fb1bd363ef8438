"""Which version answers a conversation, and a watcher that reports changed releases."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from bot.engine import Engine
from storage.adapters.folder_store import AS_TRAINED, AdapterRef, AdapterStore
from storage.database.database import Database
from storage.database.enums import CHAMPION, LAST_GOOD, CanaryStatus
from storage.database.tables import AliasMoveRow, VersionRow
from storage.errors import AdapterError
from storage.models.adapter_checks import require_base
from storage.models.base_model import BaseModel
from storage.releases.canaries import CANARY, Canary, canary_in, end_canary
from storage.releases.versions import Version, aliased_digests, find_version, name_of, read_alias, require_files

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ReleaseState:
    """The newest version and the newest move of an alias, by id; 0 without any."""

    version_id: int
    move_id: int


Subscriber = Callable[[ReleaseState | None, ReleaseState], Awaitable[bool]]
"""Gets the state before (None at the start) and the state now; returns False to be called again at the next look."""


class ReleaseWatcher:
    def __init__(self, database: Database) -> None:
        self._database = database
        self._seen: dict[Subscriber, ReleaseState | None] = {}
        self._looking = asyncio.Lock()

    def subscribe(self, subscriber: Subscriber) -> None:
        """Call `subscriber` at the next look, and then after each change."""
        self._seen[subscriber] = None

    async def look(self) -> None:
        """Call the subscribers that have not seen the present state; a failing one is logged and called again."""
        async with self._looking:
            now = await self._database.read(_read_state)
            for subscriber, before in list(self._seen.items()):
                try:
                    if before != now and await subscriber(before, now):
                        self._seen[subscriber] = now
                except Exception:
                    log.exception("A reaction to a release failed; trying again.")


def _read_state(session: Session) -> ReleaseState:
    version_id, move_id = session.execute(
        select(select(func.max(VersionRow.id)).scalar_subquery(), select(func.max(AliasMoveRow.id)).scalar_subquery())
    ).one()
    return ReleaseState(version_id or 0, move_id or 0)


class VersionPreloader:
    """Loads each new version ahead of its promotion, so that its first answer does not have to wait."""

    def __init__(self, engine: Engine, releases: ReleaseResolver, database: Database) -> None:
        self._engine = engine
        self._releases = releases
        self._database = database

    async def __call__(self, before: ReleaseState | None, now: ReleaseState) -> bool:
        if before is not None and now.version_id > before.version_id:
            version = await self._database.read(find_version, now.version_id)
            try:
                release = await asyncio.to_thread(self._releases.open, version)
                self._engine.prepare(release.adapter)
            except AdapterError as error:
                log.warning("%s could not be preloaded: %s", name_of(version), error)
        return True


class AdapterPrefetcher:
    """Copies the adapters that aliases point at to this machine, so that a rollback needs no network."""

    def __init__(self, store: AdapterStore, database: Database) -> None:
        self._store = store
        self._database = database
        self._problems: list[str] = []

    async def __call__(self, _before: ReleaseState | None, _now: ReleaseState) -> bool:
        digests = await self._database.read(aliased_digests)
        problems = await asyncio.to_thread(self._store.prefetch, digests)
        for problem in problems:
            if problem not in self._problems:
                log.warning("An adapter could not be prefetched: %s", problem)
        self._problems = problems
        return not problems


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
