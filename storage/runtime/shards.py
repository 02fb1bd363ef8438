"""The servers that a bot process handles if several processes share them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, delete, func, select, true
from sqlalchemy.orm import InstrumentedAttribute, Session

from storage.database.rows import database_now
from storage.database.tables import HeartbeatRow
from storage.errors import DataDirectoryInUse, ShardTaken
from storage.runtime.processes import ANOTHER_FOLDER, BOT, SILENT_AFTER_S, host_of, last_heartbeat, record_heartbeat
from storage.settings.sections import DiscordSettings

ID_STEP = 1 << 22
"""Ids per millisecond: https://discord.com/developers/docs/events/gateway#sharding-sharding-formula"""
FIRST = 0
STOPPED, ANYWHERE = "stopped", ""
"""Process and worker of the heartbeat row that records when a shard last stopped."""


@dataclass(frozen=True)
class Shards:
    """The shards that a process runs, and the total number of shards."""

    count: int
    own: frozenset[int]

    def serve(self, guild_id: int | None) -> bool:
        """Return whether this process handles the server; direct messages belong to the first shard."""
        return (guild_id or 0) // ID_STEP % self.count in self.own

    def of(self, guild_id: InstrumentedAttribute[int | None]) -> ColumnElement[bool]:
        """Select the rows of the servers that this process handles."""
        if self.are_all:
            return true()
        return (func.coalesce(guild_id, 0) // ID_STEP % self.count).in_(sorted(self.own))

    @property
    def are_all(self) -> bool:
        return len(self.own) == self.count

    @property
    def lead(self) -> bool:
        """True if this process does the work that only one process must do."""
        return FIRST in self.own

    @property
    def names(self) -> list[str]:
        """The shards' names in locks and heartbeats; a single shard has no number."""
        return [f"{BOT} {number}/{self.count}" if self.count > 1 else BOT for number in sorted(self.own)]


ALL = Shards(1, frozenset({FIRST}))
"""A single process handles all servers."""


def shards_of(settings: DiscordSettings) -> Shards:
    """Return the shards that the settings give this process; if Discord chooses their number, it runs all of them."""
    if settings.shard_count < 2:
        return ALL
    return Shards(settings.shard_count, frozenset(settings.shards or range(settings.shard_count)))


def take_shards(session: Session, shards: Shards, worker: str) -> None:
    """Record heartbeats of these shards; raises ShardTaken if another process runs one of them.

    It is also raised if another process uses a different shard count, because the two would share servers differently.
    Raises DataDirectoryInUse if another process runs other shards as this worker. The caller holds the locks of its
    shards, so that heartbeats of the same shards as this worker are its own, of an earlier start.
    """
    alive = database_now(session) - timedelta(seconds=SILENT_AFTER_S)
    own = (HeartbeatRow.worker == worker) & HeartbeatRow.process.in_(shards.names)
    others = select(HeartbeatRow).where(HeartbeatRow.process.startswith(BOT), ~own, HeartbeatRow.beat_at > alive)
    for other in session.scalars(others.order_by(HeartbeatRow.process)):
        if other.process in shards.names or _count_of(other.process) != shards.count:
            raise ShardTaken(other.process, host_of(other.worker))
        if other.worker == worker:
            raise DataDirectoryInUse(other.process, host_of(worker), ANOTHER_FOLDER)
    _note_crash(session, shards)
    record_shard_heartbeats(session, shards, worker)


def record_shard_heartbeats(session: Session, shards: Shards, worker: str) -> None:
    for name in shards.names:
        record_heartbeat(session, name, worker)


def leave_shards(session: Session, shards: Shards, worker: str) -> None:
    """Delete the shards' heartbeats, so that another process can take them at once."""
    session.execute(delete(HeartbeatRow).where(HeartbeatRow.process.in_(shards.names), HeartbeatRow.worker == worker))


def note_stop(session: Session, shards: Shards) -> None:
    """Record a clean stop: earlier unanswered questions are not made up for."""
    for name in shards.names:
        record_heartbeat(session, f"{STOPPED} {name}", ANYWHERE)


def _note_crash(session: Session, shards: Shards) -> None:
    """Record a stop at the last heartbeat that a process left behind, as after a crash."""
    for name in shards.names:
        last = session.scalar(select(func.max(HeartbeatRow.beat_at)).where(HeartbeatRow.process == name))
        noted = last_heartbeat(session, f"{STOPPED} {name}", ANYWHERE)
        if last is not None and (noted is None or last > noted):
            session.merge(HeartbeatRow(process=f"{STOPPED} {name}", worker=ANYWHERE, beat_at=last))


def last_stop(session: Session, shards: Shards) -> datetime | None:
    """Return the time when these shards last stopped; None if one of them never did."""
    stops = [last_heartbeat(session, f"{STOPPED} {name}", ANYWHERE) for name in shards.names]
    known = [stop for stop in stops if stop is not None]
    return min(known) if len(known) == len(stops) else None


def _count_of(name: str) -> int:
    return int(name.rpartition("/")[2]) if "/" in name else 1
