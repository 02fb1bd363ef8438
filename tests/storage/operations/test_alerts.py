"""A problem is announced once when it starts and once when it ends, whichever bot notices it."""

from __future__ import annotations

from dataclasses import replace
from itertools import chain

from sqlalchemy.orm import Session

from storage.database.database import Database
from storage.database.enums import RoundStatus
from storage.database.tables import AlertRow
from storage.insights.model_status import read_facts
from storage.operations.alerts import (
    EVERYBODY,
    Alert,
    AlertKind,
    alerts_to_announce,
    has_changed,
    record_alerts,
)
from storage.operations.outbox import give_back, take
from storage.personalities.personalities import ensure_personality
from tests.past import add_round
from tests.storage.together import together

DISK = AlertKind("disk", "the disk is almost full", "make room")


def told(session: Session) -> list[tuple[str, bool]]:
    """Take all there is to tell: (key, whether it is over)."""
    taken: list[Alert] = []
    while (entry := take(session, alerts_to_announce(session))) is not None:
        taken.append(entry.content)
    assert not alerts_to_announce(session)
    return [(alert.key, alert.ended_at is not None) for alert in taken]


def test_an_alert_is_announced_once_and_its_end_once(session):
    for message in ("1.9 GB free", "1.8 GB free"):
        record_alerts(session, "here", [replace(DISK, message=message)])
        session.expire_all()
    assert told(session) == [("disk", False)]
    record_alerts(session, "here", [DISK])
    assert told(session) == []
    record_alerts(session, "here", [])
    assert told(session) == [("disk", True)]
    record_alerts(session, "here", [DISK])
    assert told(session) == [("disk", False)]


def test_an_alert_that_ended_before_it_was_sent_is_one_message(session):
    record_alerts(session, "here", [DISK])
    record_alerts(session, "here", [])
    assert told(session) == [("disk", True)]


def test_an_alert_that_could_not_be_sent_is_sent_later(session):
    record_alerts(session, "here", [DISK])
    entry = take(session, alerts_to_announce(session))
    assert take(session, alerts_to_announce(session)) is None
    give_back(session, entry)
    assert told(session) == [("disk", False)]


def test_one_bots_silence_does_not_end_the_trouble_of_another(session):
    record_alerts(session, "here", [DISK])
    assert not has_changed(session, "here", [DISK])
    assert has_changed(session, "there", [DISK])
    record_alerts(session, "there", [])
    assert told(session) == [("disk", False)]


def test_one_of_several_bots_announces(database: Database):
    def look(_: int) -> list[tuple[str, bool]]:
        with database.transaction() as session:
            record_alerts(session, EVERYBODY, [DISK])
        with database.transaction() as session:
            return told(session) if alerts_to_announce(session) else []

    found = [*chain(*together(4, look)), *database.call(told)]
    assert database.fetch(lambda session: session.query(AlertRow).count()) == 1
    assert found == [("disk", False)]


def test_a_failed_round_is_a_fact_until_another_one_ends_well(session):
    ensure_personality(session)
    assert read_facts(session)[0].failed_round is None
    add_round(session, 1, status=RoundStatus.FAILED, reason="memory ran out")
    add_round(session, 2, status=RoundStatus.RUNNING)
    assert read_facts(session)[0].failed_round.reason == "memory ran out"
    add_round(session, 3, status=RoundStatus.SKIPPED)
    assert read_facts(session)[0].failed_round is None
