"""Reports changed releases to subscribers; two of them load new versions and copy adapters ahead of their use."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from bot.engine import Engine
from bot.releases.resolver import ReleaseResolver
from storage.adapters.folder_store import AdapterStore
from storage.database.database import Database
from storage.database.tables import AliasMoveRow, VersionRow
from storage.errors import AdapterError
from storage.releases.versions import aliased_digests, find_version, name_of

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ReleaseState:
    """The newest version and the newest move of an alias, by id, 0 without any; and the newest decision."""

    version_id: int
    move_id: int
    decided_at: datetime | None


Subscriber = Callable[[ReleaseState | None, ReleaseState], Awaitable[bool]]
"""Gets the state before (None at the start) and the state now; returns False to be called again at the next poll."""


class ReleaseWatcher:
    def __init__(self, database: Database) -> None:
        self._database = database
        self._seen: dict[Subscriber, ReleaseState | None] = {}
        self._polling = asyncio.Lock()

    def subscribe(self, subscriber: Subscriber) -> None:
        """Call `subscriber` at the next poll, and then after each change."""
        self._seen[subscriber] = None

    async def poll(self) -> None:
        """Call the subscribers that have not seen the present state; a failing one is logged and called again."""
        async with self._polling:
            now = await self._database.read(_read_state)
            for subscriber, before in list(self._seen.items()):
                try:
                    if before != now and await subscriber(before, now):
                        self._seen[subscriber] = now
                except Exception:
                    log.exception("A reaction to a release failed; trying again.")


def _read_state(session: Session) -> ReleaseState:
    version_id, decided_at = session.execute(select(func.max(VersionRow.id), func.max(VersionRow.decided_at))).one()
    move_id = session.scalar(select(func.max(AliasMoveRow.id)))
    return ReleaseState(version_id or 0, move_id or 0, decided_at)


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
