"""How many rows a statement changed, and the time that every process on a database agrees on."""

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
    """Return the number of rows that an UPDATE or DELETE reached; SQLAlchemy types its result as a query's."""
    return cast(CursorResult[Any], result).rowcount


def database_now(session: Session) -> datetime:
    """Return the time of the database's host, which for SQLite is this one."""
    if session.get_bind().dialect.name == "sqlite":
        return utc_now()
    # The time of the moment, not of the beginning of the transaction.
    now = session.scalar(select(func.clock_timestamp()))
    assert isinstance(now, datetime), "PostgreSQL tells the time with a zone"
    return now


Plain = TypeVar("Plain", bound="DataclassInstance")


def from_row(cls: type[Plain], row: Base, **more: Any) -> Plain:
    """Return a dataclass filled from the row's columns of the same names; `more` has the values of the others."""
    return cls(**{field.name: getattr(row, field.name) for field in fields(cls) if field.name not in more}, **more)
