"""The time that every process on a database agrees on; those of their hosts differ and jump."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from storage.schema import utc_now


def database_now(session: Session) -> datetime:
    """Return the time of the database's host, which for SQLite is this one."""
    if session.get_bind().dialect.name == "sqlite":
        return utc_now()
    # The time of the moment, not of the beginning of the transaction.
    now = session.scalar(select(func.clock_timestamp()))
    assert isinstance(now, datetime), "PostgreSQL tells the time with a zone"
    return now
