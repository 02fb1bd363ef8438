"""Trouble that admins are told of: once while it lasts, whichever bot notices, and once more when it is over."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import and_, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from storage.database.columns import utc_now
from storage.database.rows import from_row
from storage.database.tables import AlertRow
from storage.operations.outbox import Entry

EVERYBODY = ""
"""Scope of what all bots on the database see alike."""


@dataclass(frozen=True)
class AlertKind:
    key: str
    """The same while it is the same trouble, whatever its words."""
    says: str
    remedy: str
    lasts: bool = True
    """Its end is news as well; what merely happened has none."""


@dataclass(frozen=True)
class Alert:
    key: str
    says: str
    remedy: str
    raised_at: datetime
    ended_at: datetime | None
    told: bool


def record_alerts(session: Session, scope: str, present: Sequence[AlertKind]) -> None:
    """Raise those that are new in the scope, and end those that are not present any more."""
    known = {row.key: row for row in _open(session, scope)}
    for trouble in present:
        if trouble.key not in known:
            raise_alert(session, scope, trouble)
    ended = [row.id for key, row in known.items() if key not in {trouble.key for trouble in present}]
    if ended:
        session.execute(
            update(AlertRow).where(AlertRow.id.in_(ended), AlertRow.ended_at.is_(None)).values(ended_at=utc_now())
        )


def has_changed(session: Session, scope: str, present: Sequence[AlertKind]) -> bool:
    """Return whether `record_alerts` has something to write; nothing is written."""
    return {row.key for row in _open(session, scope)} != {trouble.key for trouble in present}


def open_alert(session: Session, scope: str, key: str) -> Alert | None:
    """Return the trouble of that key which lasts in the scope, if it does."""
    return next((from_row(Alert, row) for row in _open(session, scope) if row.key == key), None)


def raise_alert(session: Session, scope: str, trouble: AlertKind) -> None:
    """Raise it unless it stands already: of two bots that see it at once, one does."""
    row = AlertRow(scope=scope, key=trouble.key, says=trouble.says, remedy=trouble.remedy, lasts=trouble.lasts)
    try:
        with session.begin_nested():
            session.add(row)
    except IntegrityError:
        return  # another bot was quicker


def alerts_to_tell(session: Session) -> list[Entry[Alert]]:
    """Return the alerts whose start or end has not been told, oldest first; one message covers both."""
    begun = and_(AlertRow.ended_at.is_(None), AlertRow.told.is_(False))
    over = and_(AlertRow.ended_at.is_not(None), AlertRow.end_told.is_(False), AlertRow.lasts)
    rows = session.scalars(select(AlertRow).where(or_(begun, over)).order_by(AlertRow.id))
    return [Entry(from_row(Alert, row), row.id, AlertRow.end_told if row.ended_at else AlertRow.told) for row in rows]


def _open(session: Session, scope: str) -> list[AlertRow]:
    return list(session.scalars(select(AlertRow).where(AlertRow.scope == scope, AlertRow.ended_at.is_(None))))
