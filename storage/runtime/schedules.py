"""Schedules: cron expressions in UTC, and due times that only one process takes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from apscheduler.triggers.base import BaseTrigger
from apscheduler.triggers.cron import CronTrigger
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from storage.database.rows import database_now
from storage.database.tables import ScheduleRow
from storage.errors import SettingsError

WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")


def parse_schedule(key: str, text: str) -> CronTrigger | None:
    """Return the trigger of a setting's cron expression, or None where it is empty; raises SettingsError."""
    if not text.strip():
        return None
    try:
        trigger = CronTrigger.from_crontab(_name_weekdays(text), timezone=UTC)
    except ValueError as error:
        raise SettingsError(
            f'{key} = {text!r} is not a valid cron expression ({error}): write five fields, such as "0 4 * * *", '
            "or leave it empty"
        ) from error
    if trigger.get_next_fire_time(None, datetime.now(UTC)) is None:
        raise SettingsError(f"{key} = {text!r} never happens: correct its day or month")
    return trigger


def _name_weekdays(text: str) -> str:
    """Write the last field's weekdays as names: cron counts from Sunday (0 or 7), APScheduler 3 from Monday."""
    *others, field = text.lower().split()
    if field == "*":
        return text
    return " ".join([*others, ",".join(name for part in field.split(",") for name in _weekdays(part))])


def _weekdays(part: str) -> list[str]:
    """Return the names behind a number, name, range or step, such as "1-5/2"; raises ValueError."""
    span, _, step = part.partition("/")
    start, _, end = ("sun-sat" if span == "*" else span).partition("-")
    first = _weekday(start)
    last = _weekday(end or ("sat" if step else start))
    last += 7 * (last < first)  # "fri-sun" goes on into the next week
    return [WEEKDAYS[day % 7] for day in range(first, last + 1, int(step or 1))]


def _weekday(name: str) -> int:
    if name in WEEKDAYS:
        return WEEKDAYS.index(name)
    if name in ("0", "1", "2", "3", "4", "5", "6", "7"):
        return int(name)
    raise ValueError(f"{name} is not a weekday")


MAX_STEP_BACK = timedelta(minutes=1)
"""A clock may be set back by so much without anything falling due twice; after a longer jump it counts anew."""


def begin_schedule(session: Session, name: str, since: datetime | None) -> None:
    """Look at the schedule from now on, or from `since`, unless somebody looked at it later than that."""
    row = session.get(ScheduleRow, name, with_for_update=True, populate_existing=True)
    if row is not None:
        row.seen_until = max(row.seen_until, since or row.seen_until)
        return
    try:
        with session.begin_nested():
            session.add(ScheduleRow(name=name, seen_until=since or database_now(session)))
    except IntegrityError:
        return  # another process has begun


def take_due(session: Session, name: str, trigger: BaseTrigger) -> bool:
    """Return whether the schedule fell due since anybody looked last; who gets True does it, in this transaction.

    What fell due several times meanwhile is due once.
    """
    query = select(ScheduleRow).where(ScheduleRow.name == name).with_for_update()
    row = session.scalars(query.execution_options(populate_existing=True)).one()
    now, seen_until = database_now(session), row.seen_until
    if seen_until - MAX_STEP_BACK < now < seen_until:
        return False
    row.seen_until = now
    due_at = trigger.get_next_fire_time(None, seen_until + timedelta(microseconds=1))
    return due_at is not None and due_at <= now
