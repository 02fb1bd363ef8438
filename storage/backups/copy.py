"""Copies every row of one database into another, SQLite or PostgreSQL, in one transaction, and verifies the copy."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from enum import Enum
from typing import Any

from sqlalchemy import Column, Connection, Integer, Table, func, insert, select, text, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from storage.database.database import Database
from storage.database.migrate import MIGRATION_LOCK, lift_limits
from storage.database.tables import Base, PseudonymKeyRow, ReplyIdRow, ReplyRow
from storage.errors import CopyRefused

BATCH_ROWS = 2_000
INITIALLY_FILLED = (Base.metadata.tables[ReplyIdRow.__tablename__], Base.metadata.tables[PseudonymKeyRow.__tablename__])
"""Tables in which a new database already has a row; the source's row replaces it."""
DIGEST_BITS = 256
Say = Callable[[str], None]
Row = Mapping[str, Any]


@dataclass(frozen=True)
class TableCopy:
    """A copied table; its digest is equal on both sides, whatever the order of rows."""

    table: str
    rows: int
    digest: str
    """Sum of the rows' SHA-256, 64 hex digits."""


class Digest:
    """Counts rows and sums their hashes, so that the order of rows does not matter."""

    def __init__(self) -> None:
        self.rows = 0
        self._sum = 0

    def add(self, table: Table, rows: Sequence[Row]) -> None:
        names = [column.name for column in table.columns]
        for row in rows:
            line = json.dumps([_canonical(row[name]) for name in names], ensure_ascii=False).encode(errors="replace")
            self._sum += int.from_bytes(hashlib.sha256(line).digest())
        self.rows += len(rows)

    @property
    def hex(self) -> str:
        return f"{self._sum % (1 << DIGEST_BITS):0{DIGEST_BITS // 4}x}"


def _canonical(value: Any) -> Any:
    """Return the value as JSON, equal in both databases and distinct for distinct values."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="microseconds")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, bytes):
        return value.hex()
    return value.value if isinstance(value, Enum) else value


def describe_copy(copied: Sequence[TableCopy]) -> str:
    """Return a table of the copied rows, as text."""
    width = max(len(done.table) for done in copied)
    lines = [f"{'table':{width}}  {'rows':>10}  digest on both sides"]
    lines += [f"{done.table:{width}}  {done.rows:>10}  {done.digest[:16]}" for done in copied]
    return "\n".join(lines)


def tables() -> list[Table]:
    """Return every table, each after the tables that it references."""
    return list(Base.metadata.sorted_tables)


def copy_rows(
    source: Database,
    target: Database,
    say: Say,
    *,
    replace: bool = False,
    then: Callable[[Session], None] = lambda _session: None,
) -> list[TableCopy]:
    """Copy a snapshot of `source` into `target`, both at the newest schema, while others use `source`.

    The copy is one transaction of the target, which calls `then` at its end: an interrupted copy leaves no trace.
    Raises CopyRefused if the target has rows and `replace` is false, or if the copied rows differ from the source's.
    """
    with source.snapshot() as reader, target.transaction() as writer:
        into = writer.connection()
        # Rows can reference rows of their own table or a later one.
        if into.dialect.name == "sqlite":
            into.exec_driver_sql("PRAGMA defer_foreign_keys = ON")
        else:
            into.execute(text("SET CONSTRAINTS ALL DEFERRED"))
            lift_limits(into)
            into.execute(select(func.pg_advisory_xact_lock(MIGRATION_LOCK)))
        given = _last_ids(into)
        if replace:
            _empty(into)
        elif taken := _first_table_with_rows(into):
            raise CopyRefused(taken)
        for table in INITIALLY_FILLED:
            into.execute(table.delete())
        copied = [_copy(table, reader.connection(), into, say) for table in tables()]
        for done in copied:
            _verify(done, into, say)
        _set_counters(into, _last_ids(reader.connection()), given)
        then(writer)
        return copied


def has_rows(connection: Connection) -> bool:
    """Return whether any table holds a row."""
    return _first_table_with_rows(connection) is not None


def _first_table_with_rows(connection: Connection) -> str | None:
    for table in tables():
        if table in INITIALLY_FILLED:
            continue
        if connection.execute(select(text("1")).select_from(table).limit(1)).first() is not None:
            return table.name
    return None


def _empty(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":
        connection.execute(text(f"TRUNCATE {', '.join(table.name for table in tables())} CASCADE"))
        return
    for table in reversed(tables()):
        connection.execute(table.delete())


def _copy(table: Table, source: Connection, target: Connection, say: Say) -> TableCopy:
    digest = Digest()
    for rows in _batches(table, source):
        digest.add(table, rows)
        _insert(table, target, rows)
        say(f"{table.name}: {digest.rows} rows")
    return TableCopy(table.name, digest.rows, digest.hex)


def _batches(table: Table, connection: Connection) -> Iterator[list[dict[str, Any]]]:
    query = select(table).order_by(*table.primary_key.columns).execution_options(yield_per=BATCH_ROWS)
    for rows in connection.execute(query).mappings().partitions():
        yield [dict(row) for row in rows]


def _insert(table: Table, connection: Connection, rows: Sequence[Row]) -> None:
    try:
        with connection.begin_nested():
            connection.execute(insert(table), rows)
    except DBAPIError as error:
        detail = next(iter(str(error.orig).splitlines()), type(error.orig).__name__)
        raise CopyRefused(table.name, f"the target does not accept its rows ({detail})") from error


def _verify(copied: TableCopy, target: Connection, say: Say) -> None:
    """Read the table back; raises CopyRefused if it differs from the written rows."""
    say(f"{copied.table}: reading back")
    table, digest = Base.metadata.tables[copied.table], Digest()
    for rows in _batches(table, target):
        digest.add(table, rows)
    if (digest.rows, digest.hex) != (copied.rows, copied.digest):
        raise CopyRefused(
            copied.table,
            f"the target holds {digest.rows} rows with digest {digest.hex[:12]}, the source {copied.rows} with "
            f"{copied.digest[:12]}",
        )


# Counters: the next row gets an id that no row has, or had as far as the source and the target know


def _set_counters(target: Connection, *given: Mapping[str, int]) -> None:
    for table, column in _counted():
        last = max(target.scalar(select(func.max(column))) or 0, *(last_ids[table.name] for last_ids in given))
        if table.name == ReplyRow.__tablename__:
            target.execute(update(ReplyIdRow).values(highest=last))
        if target.dialect.name == "postgresql":
            target.execute(select(func.setval(_sequence(table, column), max(last, 1), last > 0)))
        elif table.dialect_options["sqlite"]["autoincrement"]:
            target.execute(text("DELETE FROM sqlite_sequence WHERE name = :name"), {"name": table.name})
            target.execute(
                text("INSERT INTO sqlite_sequence VALUES (:name, :last)"), {"name": table.name, "last": last}
            )


def _counted() -> Iterator[tuple[Table, Column[Any]]]:
    for table in tables():
        column = table.autoincrement_column
        if column is not None and isinstance(column.type, Integer) and not column.foreign_keys:
            yield table, column


def _last_ids(connection: Connection) -> dict[str, int]:
    """Return the last id that each counted table gave, as far as the database remembers it."""
    return {table.name: _last_id(table, column, connection) for table, column in _counted()}


def _last_id(table: Table, column: Column[Any], connection: Connection) -> int:
    if connection.dialect.name == "postgresql":
        sequence = connection.scalar(select(_sequence(table, column)))
        last, is_called = connection.execute(text(f"SELECT last_value, is_called FROM {sequence}")).one()
        return int(last) if is_called else 0
    if table.name == ReplyRow.__tablename__:
        return connection.scalar(select(ReplyIdRow.highest)) or 0
    if table.dialect_options["sqlite"]["autoincrement"]:
        return connection.scalar(text("SELECT seq FROM sqlite_sequence WHERE name = :name"), {"name": table.name}) or 0
    return 0


def _sequence(table: Table, column: Column[Any]) -> Any:
    return func.pg_get_serial_sequence(table.name, column.name)
