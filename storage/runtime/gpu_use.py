"""Records the use of GPUs in heartbeats, so that an engine can step aside for a round on the same machine."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

from sqlalchemy import ColumnElement, delete, update
from sqlalchemy.orm import Session

from storage.database.rows import database_now
from storage.database.tables import HeartbeatRow
from storage.runtime.processes import Heartbeat, live_processes, record_heartbeat


class GpuUse(StrEnum):
    """A process's use of a GPU; the beginning of a heartbeat's name."""

    ENGINE = "engine on gpu"
    """An engine has its model in the GPU's memory, or is about to load it."""
    ROUND = "round on gpu"
    """A round needs the memory: engines leave, and stay away until it ends."""


def take_gpus(session: Session, use: GpuUse, gpus: Iterable[str], worker: str) -> None:
    """Record that the worker uses the GPUs with these marks; it lapses after SILENT_AFTER_S seconds unless renewed."""
    for gpu in gpus:
        record_heartbeat(session, f"{use} {gpu}", worker)


def renew_gpus(session: Session, use: GpuUse, worker: str) -> None:
    """Renew the worker's records of used GPUs."""
    session.execute(update(HeartbeatRow).where(*_of(use, worker)).values(beat_at=database_now(session)))


def leave_gpus(session: Session, use: GpuUse, worker: str) -> None:
    """Record that the worker no longer uses any GPU in this way, so that others need not wait."""
    session.execute(delete(HeartbeatRow).where(*_of(use, worker)))


def users_of_gpu(session: Session, use: GpuUse, gpu: str) -> list[Heartbeat]:
    """Return the workers that use the GPU in this way now."""
    return live_processes(session, f"{use} {gpu}")


def _of(use: GpuUse, worker: str) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    return HeartbeatRow.process.startswith(use), HeartbeatRow.worker == worker
