"""The scheduled round: a cron expression that asks for rounds, late rather than never."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.schedulers.base import BaseScheduler
from apscheduler.triggers.cron import CronTrigger
from sqlalchemy import select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from storage.database import Database
from storage.errors import SettingsError
from storage.personalities import ensure_personality
from storage.rounds import request_round
from storage.schema import PersonalityRow

SCHEDULE = "schedule"
"""Who asked for a round, where it was the clock."""
JOB_ID = "scheduled-round"
RETRY_S = 30.0
WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")

log = logging.getLogger(__name__)


def parse_schedule(text: str) -> CronTrigger | None:
    """Return the trigger of `training.schedule`, in UTC, or None where it is empty; raises SettingsError."""
    if not text.strip():
        return None
    try:
        trigger = CronTrigger.from_crontab(_name_weekdays(text), timezone=UTC)
    except ValueError as error:
        raise SettingsError(
            f'training.schedule = {text!r} is no cron expression ({error}): write five fields, such as "0 4 * * *", '
            "or leave it empty"
        ) from error
    if trigger.get_next_fire_time(None, datetime.now(UTC)) is None:
        raise SettingsError(f"training.schedule = {text!r} names a date that never comes: correct its day or month")
    return trigger


@contextmanager
def scheduled_rounds(database: Database, schedule: str, last_life: datetime | None) -> Iterator[None]:
    """Ask for rounds as scheduled while the context lasts; one that was missed since `last_life` is asked for at once.

    Raises SettingsError on a schedule that is no cron expression.
    """
    trigger = parse_schedule(schedule)
    if trigger is None:
        yield
        return
    scheduler = BackgroundScheduler(timezone=UTC)
    scheduler.add_job(
        ask_for_rounds,
        trigger,
        args=[scheduler, database],
        id=JOB_ID,
        next_run_time=trigger.get_next_fire_time(None, last_life or datetime.now(UTC)),
        coalesce=True,
        max_instances=1,
        misfire_grace_time=None,  # the default drops a round that is a second late
    )
    scheduler.start()
    try:
        yield
    finally:
        scheduler.shutdown()


def ask_for_rounds(scheduler: BaseScheduler, database: Database) -> None:
    """Ask for a round of every personality; where the database is away, do it again in RETRY_S seconds."""
    try:
        request_rounds(database)
    except DBAPIError as error:
        log.warning("The scheduled round cannot be asked for (%s); trying again in %.0f s.", error.orig, RETRY_S)
        scheduler.modify_job(JOB_ID, next_run_time=datetime.now(UTC) + timedelta(seconds=RETRY_S))


def request_rounds(database: Database) -> None:
    with database.transaction() as session:
        for personality_id in _personality_ids(session):
            round_, is_new = request_round(session, personality_id, SCHEDULE)
            log.info("The schedule asks for round %d%s.", round_.id, "" if is_new else ", which is open already")


def _personality_ids(session: Session) -> list[int]:
    ensure_personality(session)
    return list(session.scalars(select(PersonalityRow.id).order_by(PersonalityRow.id)))


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
    raise ValueError(f"{name} is no weekday")
