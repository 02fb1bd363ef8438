"""Asks members to wait who ask for too much, and says so no more often than is useful."""

from __future__ import annotations

import time

from bot.errors import UserFacingError
from bot.limits import SlidingWindows, Window, windows_of
from storage.settings import Settings
from storage.wording import duration

TOLD_PAUSE_S = 30.0
TOLD_IN_CHANNEL = 5
"""Most refusals that one channel reads within that pause, whoever is refused."""


class TooMany(UserFacingError):
    def __init__(self, wait_s: float) -> None:
        super().__init__(f"One moment, please: you can ask me again in {duration(wait_s)}.")
        self.wait_s = wait_s


class Patience:
    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._windows = SlidingWindows()

    def require(self, member_id: int, channel_id: int, server_id: int | None) -> None:
        """Count a request; raises TooMany where it is one too many, which then counts for nothing."""
        windows = windows_of(member_id, channel_id, server_id, self._settings.limits)
        _refuse_early(self._windows.take(windows, time.monotonic()))

    def require_pause(self, member_id: int) -> None:
        """Count an answer that is asked for; raises TooMany within chat.cooldown_s of the one before."""
        _refuse_early(self._windows.take(self._pause_of(member_id), time.monotonic()))

    def may_tell(self, member_id: int, channel_id: int) -> bool:
        """Return whether a refusal may be told now; telling each would be a flood of its own."""
        windows = [
            Window(("told", member_id), 1, TOLD_PAUSE_S),
            Window(("told in", channel_id), TOLD_IN_CHANNEL, TOLD_PAUSE_S),
        ]
        return not self._windows.take(windows, time.monotonic())

    def _pause_of(self, member_id: int) -> list[Window]:
        pause_s = self._settings.chat.cooldown_s
        return [Window(("answers", member_id), 1, pause_s)] if pause_s else []


def _refuse_early(wait_s: float) -> None:
    if wait_s:
        raise TooMany(wait_s)
