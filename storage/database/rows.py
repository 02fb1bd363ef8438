"""Helpers for rows: the number of changed rows, the database's time, and dataclasses from rows."""

from __future__ import annotations

from dataclasses import fields
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar, cast

from sqlalchemy import (
    CursorResult,
    Result,
    func,
    select,
)
from sqlalchemy.orm import Session

from storage.database.columns import utc_now
from storage.database.tables import Base

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


def changed_rows(result: Result[Any]) -> int:
    """Return the number of rows that an UPDATE or DELETE changed; SQLAlchemy's types hide it."""
    return cast(CursorResult[Any], result).rowcount


def database_now(session: Session) -> datetime:
    """Return the current time of the database's host, on which all processes agree; for SQLite it is this host."""
    if session.get_bind().dialect.name == "sqlite":
        return utc_now()
    # The current time, not the start of the transaction.
    now = session.scalar(select(func.clock_timestamp()))
    assert isinstance(now, datetime), "PostgreSQL returns a time with its zone"
    return now


Plain = TypeVar("Plain", bound="DataclassInstance")


def from_row(cls: type[Plain], row: Base, **more: Any) -> Plain:
    """Return a dataclass filled from the row's columns of the same names; `more` gives the other fields."""
    return cls(**{field.name: getattr(row, field.name) for field in fields(cls) if field.name not in more}, **more)
