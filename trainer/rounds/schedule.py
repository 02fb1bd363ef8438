"""The schedule of rounds: due rounds are requested late rather than never, and once for all trainers."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from threading import Event, Thread

from apscheduler.triggers.base import BaseTrigger
from sqlalchemy.orm import Session

from storage.database.database import Database
from storage.database.engine import FAILURES, explain
from storage.errors import RoundConflict
from storage.personalities.personalities import ensure_personality, list_personalities
from storage.runtime.schedules import begin_schedule, parse_schedule, take_due
from storage.training.rounds import SCHEDULE, request_round

log = logging.getLogger(__name__)

SETTING = "training.schedule"
NAME = "rounds"
POLL_S = 10.0


@contextmanager
def scheduled_rounds(database: Database, schedule: str, last_seen: datetime | None) -> Iterator[None]:
    """Request rounds on schedule while the context lasts; a round that all trainers missed is requested at once.

    `last_seen` counts as the last check if no trainer has recorded one. The database's clock decides, so that it does
    not matter whose host is fast. Raises SettingsError if the schedule is not a valid cron expression.
    """
    trigger = parse_schedule(SETTING, schedule)
    if trigger is None:
        yield
        return
    with database.transaction() as session:
        begin_schedule(session, NAME, last_seen)
    stopping = Event()
    thread = Thread(target=_poll, args=(database, trigger, stopping), name="schedule", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        thread.join()


def _poll(database: Database, trigger: BaseTrigger, stopping: Event) -> None:
    """Check the schedule until `stopping` is set. APScheduler's interval would pause after a clock was set back."""
    while True:
        try:
            request_due_rounds(database, trigger)
        except Exception:
            log.exception("Checking the schedule failed; trying again in %.0f s.", POLL_S)
        if stopping.wait(POLL_S):
            return


def request_due_rounds(database: Database, trigger: BaseTrigger) -> None:
    """Request a round of every personality if the schedule is due; without a database, the next check catches up."""
    try:
        with database.transaction() as session:
            if take_due(session, NAME, trigger):
                request_rounds(session)
    except FAILURES as error:
        log.warning("Checking the schedule failed (%s); trying again in %.0f s.", explain(error), POLL_S)


def request_rounds(session: Session) -> None:
    ensure_personality(session)
    for personality in list_personalities(session):
        try:
            round_, is_new = request_round(session, personality.id, SCHEDULE)
        except RoundConflict as conflict:
            log.info("No scheduled round of %s: %s.", personality.name, conflict)
            continue
        known = "" if is_new else ", which is open already"
        log.info("The schedule requests round %d of %s%s.", round_.id, personality.name, known)
