"""Helpers for rows: conversion to and from dataclasses, counts, many IDs, and the database's time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import fields
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar, cast

from sqlalchemy import ColumnElement, CompoundSelect, CursorResult, Result, Row, Select, func, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import InstrumentedAttribute, Session

from storage.database.columns import utc_now
from storage.database.tables import Base

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

IDS_AT_ONCE = 5_000
"""IDs in one statement: SQLite accepts 32,766 parameters."""
Plain = TypeVar("Plain", bound="DataclassInstance")
Value = TypeVar("Value")


def from_row(cls: type[Plain], row: Base | Row[*tuple[Any, ...]], **more: Any) -> Plain:
    """Return a dataclass filled from the row's columns of the same names; `more` gives the other fields."""
    return cls(**{field.name: getattr(row, field.name) for field in fields(cls) if field.name not in more}, **more)


def column_values(table: type[Base], plain: DataclassInstance) -> dict[str, Any]:
    """Return the dataclass's fields that are columns of the table."""
    return {field.name: getattr(plain, field.name) for field in fields(plain) if field.name in table.__table__.columns}


def read_all(session: Session, cls: type[Plain], rows: Select[Any]) -> list[Plain]:
    """Return the selected rows as dataclasses."""
    return [from_row(cls, row) for row in session.scalars(rows)]


def read_first(session: Session, cls: type[Plain], rows: Select[Any]) -> Plain | None:
    """Return the first selected row as a dataclass, or None."""
    row = session.scalar(rows.limit(1))
    return from_row(cls, row) if row else None


def in_parts(ids: Iterable[int]) -> Iterator[list[int]]:
    """Yield the distinct IDs in ascending order, in lists of IDS_AT_ONCE."""
    ordered = sorted(set(ids))
    for start in range(0, len(ordered), IDS_AT_ONCE):
        yield ordered[start : start + IDS_AT_ONCE]


def any_row(session: Session, rows: Select[Any] | CompoundSelect[Any]) -> bool:
    """Return whether the query selects a row."""
    return session.scalar(rows.limit(1)) is not None


def count_rows(session: Session, rows: Select[Any]) -> int:
    """Return the number of rows that the query selects."""
    return session.scalar(select(func.count()).select_from(rows.subquery())) or 0


def unindexed(column: InstrumentedAttribute[Value]) -> ColumnElement[Value]:
    """Return the column for a condition that should not choose the index.

    If most rows meet a condition, its index makes the database read nearly all rows and sort them, although a better
    index has them in order. SQLite chooses it without statistics. An expression matches no index.
    """
    return func.coalesce(column, column)


def upsert(session: Session, table: type[Base]) -> postgresql.Insert | sqlite.Insert:
    """Return an INSERT of this database that can update existing rows."""
    return postgresql.insert(table) if session.get_bind().dialect.name == "postgresql" else sqlite.insert(table)


def changed_rows(result: Result[Any]) -> int:
    """Return the number of rows that an UPDATE or DELETE changed; SQLAlchemy's types hide it."""
    return cast(CursorResult[Any], result).rowcount


def database_now(session: Session) -> datetime:
    """Return the current time of the database's host, on which all processes agree; for SQLite it is this host."""
    if session.get_bind().dialect.name == "sqlite":
        return utc_now()
    # This is the current time, not the start of the transaction.
    now = session.scalar(select(func.clock_timestamp()))
    assert isinstance(now, datetime), "PostgreSQL returns a time with its zone"
    return now
