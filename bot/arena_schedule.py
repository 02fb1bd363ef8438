"""When the clock starts an arena: late rather than never."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from typing import Any

from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.cron import CronTrigger

from storage.cron import parse_schedule
from storage.errors import SettingsError
from storage.settings import ArenaSettings

JOB_ID = "scheduled-arena"
LOOK_S = 20


def arena_trigger(settings: ArenaSettings) -> CronTrigger | None:
    """Return the trigger of scheduled arenas, or None where only admins start them; raises SettingsError."""
    trigger = parse_schedule("arena.schedule", settings.schedule)
    if trigger is not None and not settings.channel:
        raise SettingsError(
            "arena.schedule is set, but arena.channel is not: write the id of the channel for scheduled arenas"
        )
    return trigger


def next_arena(trigger: CronTrigger, last: datetime | None) -> datetime:
    """Return when the next arena is due, after the `last` that the clock started; it is past where one was missed."""
    due: datetime = trigger.get_next_fire_time(last, last or datetime.now(UTC))
    return due


def schedule_arenas(
    trigger: CronTrigger, last: datetime | None, start: Callable[[], Coroutine[Any, Any, None]]
) -> AsyncIOScheduler:
    """Return a scheduler, not started yet, that awaits `start` at the trigger's times."""
    scheduler = AsyncIOScheduler(timezone=UTC)
    scheduler.add_job(
        start,
        trigger,
        id=JOB_ID,
        next_run_time=next_arena(trigger, last),
        coalesce=True,
        max_instances=1,
        misfire_grace_time=None,  # the default drops an arena that is a second late
    )
    # A scheduler sleeps until its next job by a clock that no change of the time of day touches: have it look.
    scheduler.add_job(lambda: None, "interval", seconds=LOOK_S, coalesce=True, misfire_grace_time=None)
    return scheduler
