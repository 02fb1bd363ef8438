"""How many rows a statement changed."""

from __future__ import annotations

from typing import Any, cast

from sqlalchemy import CursorResult, Result


def changed_rows(result: Result[Any]) -> int:
    """Return the number of rows that an UPDATE or DELETE reached; SQLAlchemy types its result as a query's."""
    return cast(CursorResult[Any], result).rowcount
