"""Background work: tasks that repeat or retry, and a queue that writes late rows to the database."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from datetime import datetime, timedelta
from functools import partial
from typing import Any, TypeVar

from apscheduler.triggers.base import BaseTrigger
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session
from tenacity import AsyncRetrying, RetryCallState

from bot.discord_errors import DISCORD_ERRORS, is_temporary, retry_after_s
from storage.database.columns import utc_now
from storage.database.database import Database
from storage.database.engine import FAILURES, explain, is_away
from storage.retrying import retries
from storage.runtime.schedules import take_due

log = logging.getLogger(__name__)
Work = Callable[[], Awaitable[object]]
Pause = Callable[[float], Awaitable[object]]

T = TypeVar("T")
LAG = timedelta(minutes=1)
"""Most that the database's clock may be behind this machine's clock."""


class BackgroundTasks:
    """Starts tasks, holds a reference to each, and logs their failures."""

    def __init__(self, pause: Pause = asyncio.sleep) -> None:
        """`pause` waits between the turns of repeated work; a simulator has its own clock."""
        self.pause = pause
        self._tasks: set[asyncio.Task[None]] = set()
        self._disposable: set[asyncio.Task[None]] = set()
        self._repeating: set[asyncio.Task[None]] = set()

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Run `work` in the background; `finish` waits for it, `cancel` ends it."""
        return self._start_among(self._tasks, work, name)

    def restart(self, work: Coroutine[Any, Any, None], name: str) -> None:
        """Run `work` in the background, in place of the task that still runs under this name.

        It is for work that every start does again, or that a stop may lose: `finish` does not wait for it, `cancel`
        ends it.
        """
        for task in self._disposable:
            if task.get_name() == name:
                task.cancel()
        self._start_among(self._disposable, work, name)

    def repeat(self, work: Work, interval_s: float, what: str) -> asyncio.Task[None]:
        """Await `work()` every `interval_s` seconds in the background, until it is cancelled.

        It uses the event loop's clock, so changes to the system's time do not affect it. An error is logged as a
        failure to do `what`, and the work runs again at its next turn.
        """
        return self._start_among(self._repeating, _periodic(work, interval_s, what, self.pause), what)

    async def finish(self, timeout_s: float | None = None) -> None:
        """Wait for the tasks that `spawn` started, and for those that they start."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while others := self._tasks - {asyncio.current_task()}:
                    await asyncio.wait(others)

    def cancel(self) -> None:
        """Cancel all tasks, except the one that calls this."""
        for task in (self._tasks | self._disposable | self._repeating) - {asyncio.current_task()}:
            task.cancel()

    def _start_among(
        self, others: set[asyncio.Task[None]], work: Coroutine[Any, Any, None], name: str
    ) -> asyncio.Task[None]:
        task = self._start(work, name)
        others.add(task)
        task.add_done_callback(others.discard)
        task.add_done_callback(_log_failure)
        return task

    def _start(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Start a task; the demo starts its tasks in a context of their own."""
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


class WriteBehindQueue:
    """Writes rows in the order in which they were given."""

    def __init__(self, database: Database, tasks: BackgroundTasks) -> None:
        self._database = database
        self._tasks = tasks
        self._waiting: deque[tuple[Callable[[Session], Any], Callable[[], None]]] = deque()
        self._writing: asyncio.Task[None] | None = None

    async def write(self, work: Callable[[Session], T], then: Callable[[], None] = lambda: None) -> T | None:
        """Call `work(session)` in a transaction, then `then()`; return its result.

        If the database is unreachable, both are called in the background later, and None is returned. The work may be
        done twice, if its commit succeeded but the answer to it was lost.
        """
        if not self._waiting:
            try:
                result = await self._database.run(work)
            except Exception as error:
                if not is_away(error):
                    raise
            else:
                then()
                return result
        self._waiting.append((work, then))
        if self._writing is None or self._writing.done():
            self._writing = self._tasks.spawn(self._write_waiting(), "late rows")
        return None

    async def settle(self) -> None:
        """Wait until the rows that were given so far are written."""
        if self._writing is not None:
            await asyncio.wait([self._writing])

    async def _write_waiting(self) -> None:
        while self._waiting:
            work, then = self._waiting[0]
            try:
                await retry_until_available(partial(self._database.run, work), "The first of the late rows")
            except Exception:
                log.exception("A row could not be written.")
            else:
                then()
            self._waiting.popleft()


async def retry_until_available(work: Callable[[], Awaitable[T]], what: str, *, asks_discord: bool = False) -> T:
    """Await `work()`, again while the database is unreachable, and return its result; the log calls it `what`.

    Work that `asks_discord` is also repeated while Discord refuses it for now, after the pause that Discord asks for.
    The work may be done twice, if its commit succeeded but the answer to it was lost. Other errors are raised.
    """

    def may_pass(error: BaseException) -> bool:
        is_refused = asks_discord and isinstance(error, DISCORD_ERRORS) and is_temporary(error)
        return is_refused or is_away(error)

    async def attempt() -> T:  # tenacity awaits only what it recognizes as a coroutine function
        return await work()

    def report(error: Exception) -> None:
        reason = explain(error) if isinstance(error, SQLAlchemyError) else f"Discord did not take it ({error})"
        log.warning("%s waits: %s.", what, reason)

    options = retries(may_pass, report)
    pause_s = options["wait"]

    def wait(state: RetryCallState) -> float:
        return max(float(pause_s(state)), retry_after_s(state.outcome.exception() if state.outcome else None))

    return await AsyncRetrying(**options | {"wait": wait})(attempt)


class DueTimes:
    """Tells whether schedules are due, and asks the database only when one may be."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._asks_at: dict[tuple[str, int], datetime] = {}
        """{(schedule, generation of the choices): time of the next query}"""

    async def take(self, name: str, generation: int, trigger: BaseTrigger) -> bool:
        """Return whether a schedule is due and no other process does its work; ask at first and after each due time."""
        now, key = utc_now(), (name, generation)
        if now < self._asks_at.get(key, now):
            return False
        is_due = await self._database.run(take_due, name, trigger)
        self._asks_at[key] = (trigger.get_next_fire_time(None, now) or now) + LAG
        return is_due
