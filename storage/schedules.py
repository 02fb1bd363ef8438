"""What fell due on a schedule, told once however many processes look at it."""

from __future__ import annotations

from datetime import datetime, timedelta

from apscheduler.triggers.base import BaseTrigger
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from storage.database.rows import database_now
from storage.database.tables import ScheduleRow

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
