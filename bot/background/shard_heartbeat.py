"""Tells the other processes of the bot which shards this one serves, for as long as it lives."""

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
from storage.runtime.processes import HEARTBEAT_S, SILENT_AFTER_S
from storage.runtime.shards import Shards, leave_shards, record_shard_heartbeats, take_shards

log = logging.getLogger(__name__)


class ShardHeartbeat:
    def __init__(self, database: Database, shards: Shards, worker: str, tasks: BackgroundTasks) -> None:
        self._database = database
        self._shards = shards
        self.worker = worker
        self._tasks = tasks
        self._beating: asyncio.Task[None] | None = None

    async def begin(self, patience_s: float = SILENT_AFTER_S + HEARTBEAT_S) -> None:
        """Take the shards and give signs of life from now on.

        A process that died a moment ago, on another machine, seems alive until it has been silent for long enough, so
        taken shards are asked for again for `patience_s` seconds; ShardTaken is raised then.
        """
        report = partial(log.warning, "Waiting for another process to end: %s.")
        options = retries(lambda error: isinstance(error, ShardTaken), report, patience_s)
        await AsyncRetrying(**options)(self._database.run, take_shards, self._shards, self.worker)
        beat = partial(self._database.run, record_shard_heartbeats, self._shards, self.worker)
        self._beating = self._tasks.repeat(beat, HEARTBEAT_S, "give a sign of life")

    async def end(self) -> None:
        """Let another process take the shards at once."""
        if self._beating is not None:
            self._beating.cancel()
        try:
            await self._database.run(leave_shards, self._shards, self.worker)
        except FAILURES as error:
            log.warning("Another process can take these shards in %.0f s (%s).", SILENT_AFTER_S, explain(error))
