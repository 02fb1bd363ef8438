"""Partitions the vote events of a very large PostgreSQL database, so that each partition's indexes fit into memory."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, func, select, text

from storage.database.database import Database
from storage.database.migrate import MIGRATION_LOCK, lift_limits
from storage.database.tables import VoteEventRow
from storage.errors import DatabaseError

TABLE = VoteEventRow.__tablename__
WHOLE = f"{TABLE}_whole"
PARTITIONS = 16
"""By a hash of the reply, because nearly every query filters by replies and no partitions must be added later."""
INDEXES = {
    f"pk_{TABLE}": f"ALTER TABLE {TABLE} ADD CONSTRAINT pk_{TABLE} PRIMARY KEY (id, reply_id)",
    f"ix_{TABLE}_thumb": f"CREATE INDEX ix_{TABLE}_thumb ON {TABLE} "
    "(reply_id, user_id, message_id, emoji, burst, id, standing)",
    f"ix_{TABLE}_user_id": f"CREATE INDEX ix_{TABLE}_user_id ON {TABLE} (user_id)",
}
FOREIGN_KEY = f"fk_{TABLE}_reply_id_replies"


@dataclass(frozen=True)
class Partitioned:
    is_new: bool
    """Whether the table was partitioned by this call."""
    partitions: int
    events: int
    digest: str
    """Sum of the hashes of all events: independent of their order, and the same before and after."""


def partition_votes(database: Database, partitions: int = PARTITIONS) -> Partitioned:
    """Rebuild the table of vote events in partitions, in one transaction that keeps every event or changes nothing.

    Votes can be read during this; new ones wait. Raises DatabaseError on SQLite, or if an event would be lost.
    """
    if database.engine.dialect.name != "postgresql":
        raise DatabaseError("only PostgreSQL can partition vote events: move there with `reactune db copy` first")
    with database.transaction() as session:
        connection = session.connection()
        lift_limits(connection)
        connection.execute(select(func.pg_advisory_xact_lock(MIGRATION_LOCK)))
        if is_new := count_partitions(connection) == 0:
            # In the order in which writers lock them: first the reply, then its votes.
            connection.execute(text(f"LOCK TABLE replies, {TABLE} IN SHARE ROW EXCLUSIVE MODE"))
            before = _sum_up(connection)
            _rebuild(connection, partitions)
            after = _sum_up(connection)
            if before != after:
                raise DatabaseError(f"partitioning changed the votes ({before} before, {after} after): it was undone")
        events, digest = _sum_up(connection)
        return Partitioned(is_new, count_partitions(connection), events, digest)


def count_partitions(connection: Connection) -> int:
    """Return the number of partitions of the vote events; 0 means that they are not partitioned."""
    found = text("SELECT count(*) FROM pg_inherits WHERE inhparent = to_regclass(:name)")
    return connection.scalar(found, {"name": TABLE}) or 0


def _sum_up(connection: Connection) -> tuple[int, str]:
    """Return the number of events and a digest of them."""
    hashes = text(f"SELECT count(*), coalesce(sum(hashtextextended(v::text, 0)::numeric), 0) FROM {TABLE} v")
    events, total = connection.execute(hashes).one()
    return events, f"{int(total) % (1 << 128):032x}"


def _rebuild(connection: Connection, partitions: int) -> None:
    for statement in _statements(partitions):
        connection.execute(text(statement))


def _statements(partitions: int) -> list[str]:
    return [
        f"ALTER TABLE {TABLE} RENAME TO {WHOLE}",
        *(f"ALTER INDEX {name} RENAME TO {name}_whole" for name in INDEXES),
        f"CREATE TABLE {TABLE} (LIKE {WHOLE} INCLUDING DEFAULTS) PARTITION BY HASH (reply_id)",
        *(
            f"CREATE TABLE {TABLE}_{place:02} PARTITION OF {TABLE} "
            f"FOR VALUES WITH (MODULUS {partitions}, REMAINDER {place})"
            for place in range(partitions)
        ),
        f"INSERT INTO {TABLE} SELECT * FROM {WHOLE} ORDER BY id",
        *INDEXES.values(),
        f"ALTER TABLE {WHOLE} DROP CONSTRAINT {FOREIGN_KEY}",
        f"ALTER TABLE {TABLE} ADD CONSTRAINT {FOREIGN_KEY} FOREIGN KEY (reply_id) REFERENCES replies ON DELETE CASCADE",
        f"ALTER SEQUENCE {TABLE}_id_seq OWNED BY {TABLE}.id",
        f"DROP TABLE {WHOLE}",
        f"ANALYZE {TABLE}",
    ]
