"""Background work: tasks that run once, and work that repeats."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from storage.database.engine import FAILURES, explain

log = logging.getLogger(__name__)

Work = Callable[[], Awaitable[object]]
Pause = Callable[[float], Awaitable[object]]


class BackgroundTasks:
    """Starts tasks, holds a reference to each, and logs their failures."""

    def __init__(self, pause: Pause = asyncio.sleep) -> None:
        """`pause` waits between the turns of repeated work; a simulator has its own clock."""
        self.pause = pause
        self._tasks: set[asyncio.Task[None]] = set()

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Run `work` in the background; `finish` waits for it, `cancel` ends it."""
        task = self._start(work, name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(_log_failure)
        return task

    def repeat(self, work: Work, interval_s: float, what: str) -> asyncio.Task[None]:
        """Await `work()` every `interval_s` seconds in the background, until the task is cancelled.

        It uses the event loop's clock, so changes to the system's time do not affect it. An error is logged as a
        failure to do `what`, and the work runs again at its next turn.
        """
        return self._start(_periodic(work, interval_s, what, self.pause), what)

    async def finish(self, timeout_s: float | None = None) -> None:
        """Wait for the tasks that `spawn` started, and for those that they start."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while others := self._tasks - {asyncio.current_task()}:
                    await asyncio.wait(others)

    def cancel(self) -> None:
        """Cancel the tasks that `spawn` started."""
        for task in self._tasks:
            task.cancel()

    def _start(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        return asyncio.get_running_loop().create_task(work, name=name)


async def _periodic(work: Work, interval_s: float, what: str, pause: Pause) -> None:
    while True:
        try:
            await work()
        except FAILURES as error:
            log.warning("Could not %s (%s); trying again in %g s.", what, explain(error), interval_s)
        except Exception:
            log.exception("Could not %s; trying again in %g s.", what, interval_s)
        await pause(interval_s)


def _log_failure(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and task.exception() is not None:
        log.error("The background task %r failed", task.get_name(), exc_info=task.exception())
