"""Column types that behave the same on SQLite and PostgreSQL, marks for a row's owner, and IDs in people's text."""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import JSON, BigInteger, DateTime, Integer, Text, TypeDecorator
from sqlalchemy.engine import Dialect

from storage.sentences import from_stored, to_stored

MEMBER, PSEUDONYM, SERVER = "member", "pseudonym", "server"
"""Keys of a column's `info` with a `Fate` as the value: the column names a member, by ID or pseudonym, or a server.

Deletion, departures, exports and restoring read them, so a new table needs nothing else.
"""
LARGEST_ID = 2**63 - 1
"""Largest ID of an answer, or of anything on Discord."""
LARGEST_NUMBER = 2**31 - 1
"""Largest ID of other rows: PostgreSQL refuses to compare a larger number with an INTEGER."""


class Fate(enum.Enum):
    """The fate of a row when the member or server that it names is deleted."""

    GONE = enum.auto()
    """The row is deleted."""
    SPEAKS = enum.auto()
    """The answer, summary or document that the row belongs to is deleted, because it contains words of theirs."""
    SPEAKS_TOO = enum.auto()
    """As SPEAKS, but another table with the mark SPEAKS covers the same things and is quicker to search."""
    UNNAMED = enum.auto()
    """The row is kept, with NOBODY in their place."""
    KEPT = enum.auto()
    """The row is kept as it is; `PRIVACY.md` gives the reason."""


class UtcDateTime(TypeDecorator[datetime]):
    """An aware UTC datetime; SQLite drops time zones, so they are added back when rows are read."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        if value is not None and value.tzinfo is None:
            raise ValueError(f"a datetime without a time zone reached the database: {value!r}")
        return value.astimezone(UTC) if value else None

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        return value.replace(tzinfo=UTC) if value and value.tzinfo is None else value


class SentenceText(TypeDecorator[str]):
    """A text; a stored Sentence is read as a Sentence."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:  # noqa: ARG002
        return None if value is None else to_stored(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> str | None:  # noqa: ARG002
        return None if value is None else from_stored(value)


class SentenceJson(TypeDecorator[dict[str, Any]]):
    """A JSON object; stored Sentences in it are read as Sentences."""

    impl = JSON
    cache_ok = True

    def process_bind_param(self, value: dict[str, Any] | None, dialect: Dialect) -> Any:  # noqa: ARG002
        return _with_texts(value, to_stored)

    def process_result_value(self, value: Any, dialect: Dialect) -> Any:  # noqa: ARG002
        return _with_texts(value, from_stored)


def _with_texts(value: Any, change: Callable[[str], str]) -> Any:
    """Return a JSON value with every text in it changed, except the keys of objects."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        return {key: _with_texts(part, change) for key, part in value.items()}
    is_list = isinstance(value, Sequence)  # or a tuple, before it is stored
    return [_with_texts(part, change) for part in value] if is_list else value


LargeId = BigInteger().with_variant(Integer, "sqlite")
"""An ID for tables with millions of new rows a day; SQLite can only autoincrement INTEGER, which has 64 bits there."""


def utc_now() -> datetime:
    return datetime.now(UTC)


def parse_id(text: str, largest: int = LARGEST_ID) -> int | None:
    """Return the text as a number from 0 to `largest`; None if it is not such a number."""
    is_number = text.isdecimal() and len(text) <= len(str(largest))
    return int(text) if is_number and int(text) <= largest else None
