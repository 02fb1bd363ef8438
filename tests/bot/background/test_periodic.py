"""Loops go on every so many seconds, also once the machine's clock was set."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from bot.background.periodic import every


class Heart:
    def __init__(self) -> None:
        self.beats = 0

    @every(seconds=0.02)
    async def beat(self) -> None:
        self.beats += 1


@pytest.mark.parametrize("hours", [-8, 8])
async def test_a_clock_that_was_set_neither_stops_a_loop_nor_makes_it_hurry(hours: int) -> None:
    heart, other = Heart(), Heart()
    heart.beat.start()
    await asyncio.sleep(0.03)
    before = heart.beats
    heart.beat._next_iteration += timedelta(hours=hours)  # as it stands once the clock was set the other way
    await asyncio.sleep(0.2)
    heart.beat.cancel()
    assert 3 <= heart.beats - before <= 11
    assert other.beats == 0
