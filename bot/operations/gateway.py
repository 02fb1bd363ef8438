"""The connection to Discord: outages in the log, and a heartbeat for each shard."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from functools import partial

from tenacity import AsyncRetrying

from bot.background import BackgroundTasks
from storage.database.database import Database
from storage.database.engine import FAILURES, explain
from storage.errors import DataDirectoryInUse, ShardTaken
from storage.retrying import retries
from storage.runtime.processes import HEARTBEAT_S, SILENT_AFTER_S, worker_name
from storage.runtime.shards import leave_shards, record_shard_heartbeats, shards_of, take_shards
from storage.settings.sections import Settings
from storage.wording import Duration

log = logging.getLogger(__name__)


RECONNECTING = ("discord.client", "discord.shard")
"""discord.py's loggers that report each failed attempt to connect as an error with a traceback."""
ATTEMPTS = ("Attempting a reconnect", "Failed to connect")
"""Beginnings of the reports of failed attempts."""


class Gateway(logging.Filter):
    """Follows discord.py's events and, as a filter on its loggers, its failed attempts to connect."""

    def __init__(self, now: Callable[[], float] = time.perf_counter) -> None:
        super().__init__()
        self.is_connected = False
        self._now = now
        self._lost_at: float | None = None
        self._is_reported = False

    def watch_logs(self) -> None:
        for name in RECONNECTING:
            logging.getLogger(name).addFilter(self)

    def unwatch_logs(self) -> None:
        for name in RECONNECTING:
            logging.getLogger(name).removeFilter(self)

    def lost(self) -> None:
        self.is_connected = False
        if self._lost_at is None:
            self._lost_at = self._now()

    def found(self) -> None:
        if self._is_reported and self._lost_at is not None:
            log.info("Discord is reachable again, after %s.", Duration(self._now() - self._lost_at))
        self.is_connected, self._lost_at, self._is_reported = True, None, False

    def filter(self, record: logging.LogRecord) -> bool:
        """Drop reports of failed attempts: the first one becomes a warning, and tracebacks are logged as DEBUG."""
        if not str(record.msg).startswith(ATTEMPTS):
            return True
        self.lost()
        error = record.exc_info[1] if record.exc_info else None
        if not self._is_reported:
            self._is_reported = True
            log.warning("Discord is unreachable (%s); reconnecting.", str(error) or type(error).__name__)
        log.debug(record.getMessage(), exc_info=record.exc_info)
        return False


class ShardHeartbeat:
    def __init__(self, database: Database, settings: Settings, tasks: BackgroundTasks) -> None:
        self._database = database
        self._shards = shards_of(settings.discord)
        self._worker = worker_name(settings.data.directory)
        self._tasks = tasks
        self._beating: asyncio.Task[None] | None = None

    async def begin(self, retry_s: float = SILENT_AFTER_S + HEARTBEAT_S) -> None:
        """Take the shards, and record heartbeats from now on.

        A process that has just died looks alive until its last heartbeat is old enough, so taken shards are tried again
        for `retry_s` seconds; after that, the error of `take_shards` is raised.
        """
        report = partial(log.warning, "Waiting for another process to stop: %s")
        options = retries(lambda error: isinstance(error, ShardTaken | DataDirectoryInUse), report, retry_s)
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
