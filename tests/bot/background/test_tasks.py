"""Repeated work continues after errors, at the pace of the event loop's clock."""

from __future__ import annotations

import asyncio
import itertools
import logging

import pytest
from sqlalchemy.exc import OperationalError

from bot.background import BackgroundTasks


class Turns:
    """A clock that stops after three turns, and work that fails in the first two."""

    def __init__(self) -> None:
        self.errors: list[Exception] = [OperationalError("SELECT", None, ConnectionError("away")), KeyError("x")]
        self.worked = 0
        self.pauses_s: list[float] = []
        self.is_over = asyncio.Event()

    async def work(self) -> None:
        self.worked += 1
        if self.errors:
            raise self.errors.pop(0)

    async def pause(self, seconds: float) -> None:
        self.pauses_s.append(seconds)
        if len(self.pauses_s) == 3:
            self.is_over.set()
            await asyncio.Event().wait()


async def test_a_task_continues_after_errors_and_logs_them(caplog: pytest.LogCaptureFixture) -> None:
    turns = Turns()
    task = BackgroundTasks(turns.pause).repeat(turns.work, 5.0, "count")
    await asyncio.wait_for(turns.is_over.wait(), 120)
    task.cancel()
    assert (turns.worked, turns.pauses_s) == (3, [5.0, 5.0, 5.0])
    away, unforeseen = caplog.records
    assert (away.levelno, away.exc_info) == (logging.WARNING, None)
    assert away.message.startswith("Could not count (the database cannot be used (away)")
    assert (unforeseen.message, unforeseen.levelno) == ("Could not count; trying again in 5 s.", logging.ERROR)


async def test_it_waits_by_the_event_loops_clock() -> None:
    times: list[float] = []
    is_over = asyncio.Event()

    async def work() -> None:
        times.append(asyncio.get_running_loop().time())
        if len(times) == 3:
            is_over.set()

    task = BackgroundTasks().repeat(work, 0.02, "look at the clock")
    await asyncio.wait_for(is_over.wait(), 120)
    task.cancel()
    assert all(later - earlier > 0.019 for earlier, later in itertools.pairwise(times))
