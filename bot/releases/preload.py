"""Loads each new version before anybody promotes it, so that its first answer need not wait."""

from __future__ import annotations

import asyncio
import logging

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from bot.background.periodic import every
from bot.engine import Engine
from bot.releases.resolver import Releases
from storage.database.database import Database
from storage.database.engine import FAILURES, explain
from storage.database.tables import VersionRow
from storage.errors import AdapterError
from storage.releases.versions import Version, find_version, name_of

log = logging.getLogger(__name__)

LOOK_INTERVAL_S = 3.0


class Warming:
    def __init__(self, engine: Engine, releases: Releases, database: Database) -> None:
        self._engine = engine
        self._releases = releases
        self._database = database
        self._newest_id = 0
        self._looking = asyncio.Lock()  # a version that is loaded by one look is not loaded by another

    async def start(self) -> None:
        """Look for new versions from now on."""
        self._newest_id = await self._database.read(_newest_id)
        self._look.start()

    async def look(self) -> None:
        """Look at once."""
        await self._look()

    def close(self) -> None:
        self._look.cancel()

    @every(seconds=LOOK_INTERVAL_S)
    async def _look(self) -> None:
        async with self._looking:
            await self._look_safely()

    async def _look_safely(self) -> None:
        try:
            newest_id = await self._database.read(_newest_id)
            if newest_id > self._newest_id:
                self._newest_id = newest_id
                await self._prepare(await self._database.read(find_version, newest_id))
        except FAILURES as error:
            log.warning("New versions cannot be looked up now: %s.", explain(error))

    async def _prepare(self, version: Version | None) -> None:
        try:
            release = await asyncio.to_thread(self._releases.open, version)
            self._engine.prepare(release.adapter)
        except AdapterError as error:
            log.warning("%s is not loaded ahead of time: %s", name_of(version), error)


def _newest_id(session: Session) -> int:
    return session.scalar(select(func.max(VersionRow.id))) or 0
