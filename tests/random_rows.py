"""Random valid rows of every table, which a copy and an upgrade must keep."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    Connection,
    Date,
    DateTime,
    Enum,
    Float,
    LargeBinary,
    Table,
    insert,
    update,
)
from sqlalchemy.types import Integer, TypeDecorator

LETTERS = "ab '\"\\\n%:{}[]é👍🏽\u202e\u2028ÿ"
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
FLOATS = (0.0, -0.0, 0.1, 1e-300, -1e300, math.pi, 5e-324)
SMALL, LARGE = (0, 1, -1, 2**31 - 1), (0, 1, 2**53 + 1, 2**63 - 1, -(2**63))
ROWS_OF_A_TABLE = 4
INITIALLY_FILLED = ("reply_ids", "pseudonym_keys")

Row = dict[str, Any]


def fill(connection: Connection, tables: list[Table], rng: Random) -> None:
    """Insert a few rows into each table; `tables` are in the order of their foreign keys."""
    rows: dict[str, list[Row]] = {}
    for table in tables:
        rows[table.name] = [] if table.name in INITIALLY_FILLED else _rows(table, rows, rng)
        if rows[table.name]:
            connection.execute(insert(table), rows[table.name])
    for table in tables:
        _point_ahead(connection, table, rows, rng)


def _point_ahead(connection: Connection, table: Table, rows: dict[str, list[Row]], rng: Random) -> None:
    """Let rows point at others of their own table, and of later ones."""
    for column in table.columns:
        for key in column.foreign_keys:
            known = rows[key.column.table.name]
            if column.nullable and known and table.name in ("versions", "rounds"):
                for row in rows[table.name]:
                    change = update(table).where(table.c.id == row["id"])
                    connection.execute(change.values({column.name: rng.choice(known)[key.column.name]}))


def _rows(table: Table, others: dict[str, list[Row]], rng: Random) -> list[Row]:
    found: dict[tuple[Any, ...], Row] = {}
    for place in range(rng.randint(0, ROWS_OF_A_TABLE)):
        columns = [column for column in table.columns if column.computed is None]
        row = {column.name: _value(column, place, others, rng) for column in columns}
        if not any(row[column.name] is None and not column.nullable for column in columns):
            found.setdefault(tuple(row[column.name] for column in table.primary_key.columns), row)
    return list(found.values())


def _value(column: Column[Any], place: int, others: dict[str, list[Row]], rng: Random) -> Any:
    if column.nullable and rng.random() < 0.3:
        return None
    for key in column.foreign_keys:
        known = others.get(key.column.table.name, [])  # a later table has no rows yet
        return rng.choice(known)[key.column.name] if known else None
    if _is_counted(column):
        return 3 * place + 1  # with gaps, all different
    return _maker(column)(column, rng)


def _is_counted(column: Column[Any]) -> bool:
    """Return whether equal values may be forbidden, or nothing but a small number is allowed."""
    own_key = column.primary_key and isinstance(_plain(column), Integer)
    return own_key or column.name in ("number", "generation")


def _plain(column: Column[Any]) -> Any:
    return column.type.impl if isinstance(column.type, TypeDecorator) else column.type


def _maker(column: Column[Any]) -> Callable[[Column[Any], Random], Any]:
    for kind, make in MAKERS.items():
        if isinstance(_plain(column), kind):
            return make
    return _text


def _text(column: Column[Any], rng: Random) -> str:
    longest = min(getattr(_plain(column), "length", None) or 30, 30)
    text = "".join(rng.choices(LETTERS, k=rng.randint(0, longest // 2)))
    return f"{text}{rng.getrandbits(24):x}"[:longest] if column.unique or column.primary_key else text


def _moment(column: Column[Any], rng: Random) -> datetime:
    return EPOCH + timedelta(microseconds=rng.randrange(4 * 10**15))


def _whole(column: Column[Any], rng: Random) -> int:
    if column.name == "message_id" and column.nullable:  # unique in arenas
        return rng.randrange(2**62)
    return rng.choice(LARGE if _plain(column).__class__.__name__.upper() in ("BIGINT", "BIGINTEGER") else SMALL)


def _json(column: Column[Any], rng: Random) -> Any:
    text = "".join(rng.choices(LETTERS, k=5))
    return json.loads(json.dumps({text: [1, 2.5, None, True, {"z": text, "a": rng.choice(FLOATS)}], "sampling": {}}))


MAKERS: dict[type, Callable[[Column[Any], Random], Any]] = {
    Enum: lambda column, rng: rng.choice(list(column.type.enum_class)),
    Boolean: lambda _column, rng: rng.random() < 0.5,
    Date: lambda column, rng: _moment(column, rng).date(),
    DateTime: _moment,
    Float: lambda _column, rng: rng.choice(FLOATS),
    Integer: _whole,
    JSON: _json,
    LargeBinary: lambda _column, rng: rng.randbytes(rng.randint(0, 20)),
}
