"""Schedules: cron expressions in UTC, and due times that only one process handles."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from apscheduler.triggers.base import BaseTrigger
from apscheduler.triggers.combining import OrTrigger
from apscheduler.triggers.cron import CronTrigger
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from storage.database.rows import database_now
from storage.database.tables import ScheduleRow
from storage.errors import SettingsError

WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
MAX_STEP_BACK = timedelta(minutes=1)
"""If the clock is set back by less than this, nothing is due twice; after a larger step, the schedule restarts."""


def parse_schedule(key: str, text: str) -> BaseTrigger | None:
    """Return the trigger of a setting's cron expression, or None if it is empty; raises SettingsError."""
    if not text.strip():
        return None
    try:
        trigger = _trigger(text)
    except ValueError as error:
        raise SettingsError(
            f'{key} = {text!r} is not a valid cron expression ({error}): write five fields, such as "0 4 * * *", '
            "or leave it empty"
        ) from error
    if trigger.get_next_fire_time(None, datetime.now(UTC)) is None:
        raise SettingsError(f"{key} = {text!r} never happens: correct its day or month")
    return trigger


def _trigger(text: str) -> BaseTrigger:
    both = CronTrigger.from_crontab(_name_weekdays(text), timezone=UTC)
    minute, hour, day, month, weekday = text.split()
    if day.startswith("*") or weekday.startswith("*"):
        return both
    either = (f"{minute} {hour} {day} {month} *", f"{minute} {hour} * {month} {_name_weekdays(weekday)}")
    return OrTrigger([CronTrigger.from_crontab(each, timezone=UTC) for each in either])  # as cron reads two days


def _name_weekdays(text: str) -> str:
    """Replace weekday numbers with names: cron counts from Sunday (0 or 7), APScheduler 3 from Monday."""
    *others, field = text.lower().split()
    if field == "*":
        return text
    return " ".join([*others, ",".join(name for part in field.split(",") for name in _weekdays(part))])


def _weekdays(part: str) -> list[str]:
    """Return the weekday names for a number, name, range or step, such as "1-5/2"; raises ValueError."""
    span, _, step = part.partition("/")
    start, _, end = ("sun-sat" if span == "*" else span).partition("-")
    first = _weekday(start)
    last = _weekday(end or ("sat" if step else start))
    last += 7 * (last < first)  # "fri-sun" continues into the next week
    return [WEEKDAYS[day % 7] for day in range(first, last + 1, int(step or 1))]


def _weekday(name: str) -> int:
    if name in WEEKDAYS:
        return WEEKDAYS.index(name)
    if name in ("0", "1", "2", "3", "4", "5", "6", "7"):
        return int(name)
    raise ValueError(f"{name} is not a weekday")


def begin_schedule(session: Session, name: str, since: datetime | None) -> None:
    """Start the schedule at `since` or now; an existing one continues, or moves forward to `since`."""
    row = session.get(ScheduleRow, name, with_for_update=True, populate_existing=True)
    if row is not None:
        row.seen_until = max(row.seen_until, since or row.seen_until)
        return
    try:
        with session.begin_nested():
            session.add(ScheduleRow(name=name, seen_until=since or database_now(session)))
    except IntegrityError:
        return  # another process was faster


def take_due(session: Session, name: str, trigger: BaseTrigger) -> bool:
    """Return whether the schedule has become due since the last check by any process.

    The process that gets True does the work, in this transaction. Several missed times count as one.
    """
    query = select(ScheduleRow).where(ScheduleRow.name == name).with_for_update()
    row = session.scalars(query.execution_options(populate_existing=True)).one()
    now, seen_until = database_now(session), row.seen_until
    if seen_until - MAX_STEP_BACK < now < seen_until:
        return False
    row.seen_until = now
    due_at = trigger.get_next_fire_time(None, seen_until + timedelta(microseconds=1))
    return due_at is not None and due_at <= now
