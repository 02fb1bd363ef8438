"""Work that repeats every so many seconds, whatever becomes of the time of day.

discord.ext.tasks waits until a time of day: once the clock is set back it does nothing for as long, and once it is set
forward, as after a machine's sleep, it makes up for every turn that was missed, one right after the other.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from discord.ext import tasks
from discord.utils import MISSING, utcnow


class SteadyLoop(tasks.Loop[Any]):
    async def _try_sleep_until(self, _dt: datetime) -> None:
        # What sleeps measures the pause by the event loop's clock.
        then: Any = utcnow() + timedelta(seconds=self._sleep)
        self._next_iteration = then
        await super()._try_sleep_until(then)

    def __get__(self, obj: Any, objtype: type[Any]) -> SteadyLoop:
        copy = super().__get__(obj, objtype)
        copy.__class__ = SteadyLoop  # discord.py makes one of its own
        return copy  # type: ignore[return-value]


def every(*, seconds: float = 0.0, hours: float = 0.0) -> Callable[[Any], SteadyLoop]:
    """Return a decorator as `tasks.loop`."""

    def decorate(work: Any) -> SteadyLoop:
        return SteadyLoop(
            work, seconds=seconds, hours=hours, minutes=0, time=MISSING, count=None, reconnect=True, name=None
        )

    return decorate
