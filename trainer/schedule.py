"""The scheduled round: a cron expression that asks for rounds, late rather than never."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.schedulers.base import BaseScheduler
from sqlalchemy.exc import DBAPIError

from storage.cron import parse_schedule
from storage.database import Database
from storage.errors import RoundConflict
from storage.personalities import ensure_personality, list_personalities
from storage.rounds import request_round

SCHEDULE = "schedule"
"""Who asked for a round, where it was the clock."""
SETTING = "training.schedule"
JOB_ID = "scheduled-round"
RETRY_S = 30.0
LOOK_S = 20

log = logging.getLogger(__name__)


@contextmanager
def scheduled_rounds(database: Database, schedule: str, last_life: datetime | None) -> Iterator[None]:
    """Ask for rounds as scheduled while the context lasts; one that was missed since `last_life` is asked for at once.

    Raises SettingsError on a schedule that is no cron expression.
    """
    trigger = parse_schedule(SETTING, schedule)
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
    # A scheduler sleeps until its next job by a clock that no change of the time of day touches: have it look.
    scheduler.add_job(lambda: None, "interval", seconds=LOOK_S, coalesce=True, misfire_grace_time=None)
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
        ensure_personality(session)
        for personality in list_personalities(session):
            try:
                round_, is_new = request_round(session, personality.id, SCHEDULE)
            except RoundConflict as conflict:
                log.info("The schedule asks for no round of %s: %s.", personality.name, conflict)
                continue
            known = "" if is_new else ", which is open already"
            log.info("The schedule asks for round %d of %s%s.", round_.id, personality.name, known)
