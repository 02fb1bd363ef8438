from __future__ import annotations

import asyncio
import time

import pytest


class Clock:
    """The clocks of the event loop and of time.perf_counter, which a test moves ahead: long timeouts pass at once."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._ahead_s = 0.0
        loop = asyncio.get_running_loop()
        loop_time, perf_counter = loop.time, time.perf_counter
        monkeypatch.setattr(loop, "time", lambda: loop_time() + self._ahead_s)
        monkeypatch.setattr(time, "perf_counter", lambda: perf_counter() + self._ahead_s)

    def advance(self, seconds: float) -> None:
        self._ahead_s += seconds


@pytest.fixture
async def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)
