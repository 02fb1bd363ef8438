"""Work that repeats by the event loop's clock: setting the system's time neither stops nor hurries it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from storage.database.engine import FAILURES, explain

log = logging.getLogger(__name__)

Work = Callable[[], Awaitable[object]]
Pause = Callable[[float], Awaitable[object]]
Repeat = Callable[[Work, float, str], asyncio.Task[None]]
"""Starts periodic work in the background; see `ReactuneBot.repeat`."""


async def periodic(work: Work, interval_s: float, what: str, pause: Pause = asyncio.sleep) -> None:
    """Await `work()` again and again, `interval_s` seconds apart; errors are logged, as failures to do `what`."""
    while True:
        try:
            await work()
        except FAILURES as error:
            log.warning("Could not %s (%s); trying again in %g s.", what, explain(error), interval_s)
        except Exception:
            log.exception("Could not %s; trying again in %g s.", what, interval_s)
        await pause(interval_s)
