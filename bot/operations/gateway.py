"""The connection to Discord: whether it is up, and one log line when it is lost and one when it is back."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from storage.wording import duration

log = logging.getLogger(__name__)

RECONNECTING = ("discord.client", "discord.shard")
"""discord.py's loggers that report each failed attempt to connect as an error with a traceback."""
ATTEMPTS = ("Attempting a reconnect", "Failed to connect")
"""How these reports start."""


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
            log.info("Discord is reachable again, after %s.", duration(self._now() - self._lost_at))
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
