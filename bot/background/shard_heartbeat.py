"""Reserves this process's shards in the database, and renews them while it runs."""

from __future__ import annotations

import asyncio
import logging
from functools import partial

from tenacity import AsyncRetrying

from bot.background.tasks import BackgroundTasks
from storage.database.database import Database
from storage.database.engine import FAILURES, explain
from storage.errors import ShardTaken
from storage.retrying import retries
from storage.runtime.processes import HEARTBEAT_S, SILENT_AFTER_S, worker_name
from storage.runtime.shards import leave_shards, record_shard_heartbeats, shards_of, take_shards
from storage.settings.sections import Settings

log = logging.getLogger(__name__)


class ShardHeartbeat:
    def __init__(self, database: Database, settings: Settings, tasks: BackgroundTasks) -> None:
        self._database = database
        self._shards = shards_of(settings.discord)
        self._worker = worker_name(settings.data.directory)
        self._tasks = tasks
        self._beating: asyncio.Task[None] | None = None

    async def begin(self, patience_s: float = SILENT_AFTER_S + HEARTBEAT_S) -> None:
        """Take the shards, and record heartbeats from now on.

        A process on another machine that has just died looks alive until its last heartbeat is old enough, so taken
        shards are tried again for `patience_s` seconds; after that, ShardTaken is raised.
        """
        report = partial(log.warning, "Waiting for another process to stop: %s")
        options = retries(lambda error: isinstance(error, ShardTaken), report, patience_s)
        await AsyncRetrying(**options)(self._database.run, take_shards, self._shards, self._worker)
        beat = partial(self._database.run, record_shard_heartbeats, self._shards, self._worker)
        self._beating = self._tasks.repeat(beat, HEARTBEAT_S, "record a heartbeat")

    async def end(self) -> None:
        """Release the shards, so that another process can take them at once."""
        if self._beating is not None:
            self._beating.cancel()
        try:
            await self._database.run(leave_shards, self._shards, self._worker)
        except FAILURES as error:
            log.warning("Another process can take these shards only in %.0f s: %s", SILENT_AFTER_S, explain(error))
