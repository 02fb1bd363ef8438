"""Rate-limits members, and limits how often it tells them."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from bot.errors import UserFacingError
from storage.members import DIRECT
from storage.settings.sections import LimitSettings, Settings
from storage.wording import Duration

TOLD_PAUSE_S = 30.0
TOLD_IN_CHANNEL = 5
"""Maximum refusals that one channel sees within that pause, for all members together."""

MINUTE_S, HOUR_S = 60.0, 3_600.0
MEMBER_HOUR, CHANNEL_HOUR, SERVER_HOUR = 12, 20, 25
"""An hour allows as much as this many minutes: nobody talks without a pause, and in a server others go on."""
CHANNELS = 4
"""A server may make as many requests as this many channels: more are seldom busy in the same minute."""
SWEEP_EVERY = 1_000


class RateLimited(UserFacingError):
    def __init__(self, wait_s: float) -> None:
        super().__init__("One moment, please. You can ask me again in {time}.", time=Duration(wait_s))
        self.wait_s = wait_s


class RateLimiter:
    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._windows = SlidingWindows()

    def require(self, member_id: int, channel_id: int, server_id: int | None) -> None:
        """Count a request; raises RateLimited if it exceeds a limit, and then does not count it."""
        self._windows.require(*windows_of(member_id, channel_id, server_id, self._settings.limits))

    def require_pause(self, member_id: int) -> None:
        """Count a requested answer; raises RateLimited within chat.cooldown_s of the previous one."""
        if pause_s := self._settings.chat.cooldown_s:
            self._windows.require(Window(("answers", member_id), 1, pause_s))

    def should_notify(self, member_id: int, channel_id: int) -> bool:
        """Return whether to tell the member about a refusal now: telling them every time would be spam."""
        windows = [
            Window(("told", member_id), 1, TOLD_PAUSE_S),
            Window(("told in", channel_id), TOLD_IN_CHANNEL, TOLD_PAUSE_S),
        ]
        return not self._windows.take(windows, time.monotonic())


@dataclass(frozen=True)
class Window:
    """A limit: at most `most` requests of one key within `seconds`."""

    key: Hashable
    most: int
    seconds: float


class SlidingWindows:
    """Remembers the times of as many requests as the windows need.

    `limits` from PyPI uses the wall clock, which jumps, and starts a thread. discord.py's cooldowns use fixed windows,
    which allow twice the rate at their edges, and cannot check several windows before charging them.
    """

    def __init__(self) -> None:
        self._taken: dict[Window, deque[float]] = {}
        self._until_sweep = SWEEP_EVERY

    def require(self, *windows: Window) -> None:
        """Count a request in every window; if one is full, raise RateLimited and count it in none."""
        if wait_s := self.take(windows, time.monotonic()):
            raise RateLimited(wait_s)

    def take(self, windows: Sequence[Window], now_s: float) -> float:
        """Charge every window with a request if all have room; return the seconds until they do, 0 for now."""
        wait_s = max((self._wait_s(window, now_s) for window in windows), default=0.0)
        if not wait_s:
            self._sweep(now_s)
            for window in windows:
                self._taken.setdefault(window, deque(maxlen=window.most)).append(now_s)
        return wait_s

    def _wait_s(self, window: Window, now_s: float) -> float:
        taken = self._taken.get(window)
        if taken is None or len(taken) < window.most:
            return 0.0
        return max(0.0, taken[0] + window.seconds - now_s)

    def _sweep(self, now_s: float) -> None:
        """Now and then, forget expired windows: members come and go."""
        self._until_sweep -= 1
        if self._until_sweep <= 0:
            self._until_sweep = SWEEP_EVERY
            stale = [window for window, taken in self._taken.items() if taken[-1] + window.seconds <= now_s]
            for window in stale:
                del self._taken[window]


def windows_of(member_id: int, channel_id: int, server_id: int | None, limits: LimitSettings) -> list[Window]:
    """Return the windows that a request counts in; a limit of 0 creates none."""
    server = DIRECT if server_id is None else server_id
    windows = [
        Window(("member", member_id), limits.member_per_minute, MINUTE_S),
        Window(("member", member_id), MEMBER_HOUR * limits.member_per_minute, HOUR_S),
        Window(("channel", channel_id), limits.channel_per_minute, MINUTE_S),
        Window(("channel", channel_id), CHANNEL_HOUR * limits.channel_per_minute, HOUR_S),
        Window(("server", server), CHANNELS * limits.channel_per_minute, MINUTE_S),
        Window(("server", server), SERVER_HOUR * CHANNELS * limits.channel_per_minute, HOUR_S),
    ]
    return [window for window in windows if window.most]
