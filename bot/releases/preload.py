"""Loads each new version before anybody promotes it, so that its first answer need not wait."""

from __future__ import annotations

import asyncio
import logging

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from bot.background.periodic import Repeat
from bot.engine import Engine
from bot.releases.resolver import ReleaseResolver
from storage.database.database import Database
from storage.database.tables import VersionRow
from storage.errors import AdapterError
from storage.releases.versions import Version, find_version, name_of

log = logging.getLogger(__name__)

LOOK_INTERVAL_S = 3.0


class VersionPreloader:
    def __init__(self, engine: Engine, releases: ReleaseResolver, database: Database, repeat: Repeat) -> None:
        """Look for new versions from now on, until `close`."""
        self._engine = engine
        self._releases = releases
        self._database = database
        self._newest_id: int | None = None
        self._looking = asyncio.Lock()  # a version that is loaded by one look is not loaded by another
        self._repeating = repeat(self.look, LOOK_INTERVAL_S, "look for new versions")

    def close(self) -> None:
        self._repeating.cancel()

    async def look(self) -> None:
        """Load the newest version unless it was there already; the first look only takes note of it."""
        async with self._looking:
            known_id, self._newest_id = self._newest_id, await self._database.read(_newest_id)
            if known_id is not None and self._newest_id > known_id:
                await self._prepare(await self._database.read(find_version, self._newest_id))

    async def _prepare(self, version: Version | None) -> None:
        try:
            release = await asyncio.to_thread(self._releases.open, version)
            self._engine.prepare(release.adapter)
        except AdapterError as error:
            log.warning("%s is not loaded ahead of time: %s", name_of(version), error)


def _newest_id(session: Session) -> int:
    return session.scalar(select(func.max(VersionRow.id))) or 0
