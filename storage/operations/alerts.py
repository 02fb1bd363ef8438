"""Alerts: each problem is announced once when it starts and once when it ends, whichever bot process notices it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import and_, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from storage.database.columns import utc_now
from storage.database.rows import from_row
from storage.database.tables import AlertRow
from storage.operations.outbox import OutboxMessage

EVERYBODY = ""
"""Scope of alerts that every bot on this database would raise."""


@dataclass(frozen=True)
class AlertKind:
    key: str
    """Identifies the problem, even if its text changes."""
    message: str
    remedy: str


@dataclass(frozen=True)
class Alert:
    key: str
    message: str
    remedy: str
    raised_at: datetime
    ended_at: datetime | None
    announced: bool


def record_alerts(session: Session, scope: str, present: Sequence[AlertKind]) -> None:
    """Raise the alerts that are new in the scope, and end those that are no longer present."""
    known = {row.key: row for row in _open(session, scope)}
    for alert in present:
        if alert.key not in known:
            raise_alert(session, scope, alert)
    ended = [known[key].id for key in known.keys() - {alert.key for alert in present}]
    if ended:
        session.execute(
            update(AlertRow).where(AlertRow.id.in_(ended), AlertRow.ended_at.is_(None)).values(ended_at=utc_now())
        )


def has_changed(session: Session, scope: str, present: Sequence[AlertKind]) -> bool:
    """Return whether `record_alerts` would change anything; writes nothing."""
    return {row.key for row in _open(session, scope)} != {alert.key for alert in present}


def open_alert(session: Session, scope: str, key: str) -> Alert | None:
    return next((from_row(Alert, row) for row in _open(session, scope) if row.key == key), None)


def raise_alert(session: Session, scope: str, alert: AlertKind) -> None:
    """Raise the alert unless it is already open; if two bots see the problem at once, only one raises it."""
    with suppress(IntegrityError), session.begin_nested():  # another bot may be faster
        session.add(AlertRow(scope=scope, **vars(alert)))


def alerts_to_announce(session: Session) -> list[OutboxMessage[Alert]]:
    """Return the alerts whose start or end has not been announced, oldest first; one message covers both."""
    begun = and_(AlertRow.ended_at.is_(None), AlertRow.announced.is_(False))
    over = and_(AlertRow.ended_at.is_not(None), AlertRow.end_announced.is_(False))
    rows = session.scalars(select(AlertRow).where(or_(begun, over)).order_by(AlertRow.id))
    return [
        OutboxMessage(from_row(Alert, row), row.id, AlertRow.end_announced if row.ended_at else AlertRow.announced)
        for row in rows
    ]


def _open(session: Session, scope: str) -> list[AlertRow]:
    return list(session.scalars(select(AlertRow).where(AlertRow.scope == scope, AlertRow.ended_at.is_(None))))
