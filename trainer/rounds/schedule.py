"""The scheduled round: a cron expression that asks for rounds, late rather than never, and once for all trainers."""

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
from storage.training.rounds import request_round

SCHEDULE = "schedule"
"""Who asked for a round, where it was the clock."""
SETTING = "training.schedule"
NAME = "rounds"
LOOK_S = 10.0

log = logging.getLogger(__name__)


@contextmanager
def scheduled_rounds(database: Database, schedule: str, last_life: datetime | None) -> Iterator[None]:
    """Ask for rounds as scheduled while the context lasts; one that all trainers missed is asked for at once.

    `last_life` is when it was looked at last, where no trainer ever noted that. The database's clock counts, so that it
    does not matter whose host is fast. Raises SettingsError on a schedule that is no cron expression.
    """
    trigger = parse_schedule(SETTING, schedule)
    if trigger is None:
        yield
        return
    with database.transaction() as session:
        begin_schedule(session, NAME, last_life)
    stopping = Event()
    looking = Thread(target=_look, args=(database, trigger, stopping), name="schedule", daemon=True)
    looking.start()
    try:
        yield
    finally:
        stopping.set()
        looking.join()


def _look(database: Database, trigger: BaseTrigger, stopping: Event) -> None:
    """Look until told to stop. Not APScheduler's interval, which looks no more for as long as a clock was set back."""
    while True:
        try:
            ask_for_rounds(database, trigger)
        except Exception:
            log.exception("The schedule cannot be looked at; trying again in %.0f s.", LOOK_S)
        if stopping.wait(LOOK_S):
            return


def ask_for_rounds(database: Database, trigger: BaseTrigger) -> None:
    """Ask for a round of every personality where that fell due; without a database the next look makes up for it."""
    try:
        with database.transaction() as session:
            if take_due(session, NAME, trigger):
                request_rounds(session)
    except FAILURES as error:
        log.warning("The schedule cannot be looked at (%s); trying again in %.0f s.", explain(error), LOOK_S)


def request_rounds(session: Session) -> None:
    ensure_personality(session)
    for personality in list_personalities(session):
        try:
            round_, is_new = request_round(session, personality.id, SCHEDULE)
        except RoundConflict as conflict:
            log.info("The schedule asks for no round of %s: %s.", personality.name, conflict)
            continue
        known = "" if is_new else ", which is open already"
        log.info("The schedule asks for round %d of %s%s.", round_.id, personality.name, known)
