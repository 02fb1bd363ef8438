"""The bot and trainer processes: one of each per data folder, one bot per token, their heartbeats and their GPUs."""

from __future__ import annotations

import hashlib
import secrets
import socket
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from sqlalchemy import ColumnElement, delete, select, update
from sqlalchemy.orm import Session

from storage.database.rows import database_now
from storage.database.tables import HeartbeatRow
from storage.errors import DataDirectoryInUse, SettingsError, TokenInUse

CREATE_NEW_PROCESS_GROUP = 0x200  # Windows' value; subprocess defines the name only there
# Ctrl-C reaches every process of a terminal. Child processes that their parent stops itself must not get it. They stay
# in the parent's session: Linux weighs sessions equally, so a low priority counts only within one (sched(7),
# autogroup).
DETACHED: dict[str, Any] = (
    {"creationflags": CREATE_NEW_PROCESS_GROUP} if sys.platform == "win32" else {"process_group": 0}
)
BOT = "bot"
TRAINER = "trainer"
HEARTBEAT_S = 5.0
SILENT_AFTER_S = 30.0
WORKER_FILE = "worker"
ANOTHER_FOLDER = "set data.directory to another folder"
MARK = "#"
"""Separates a worker's host and folder from its random mark."""


@dataclass(frozen=True)
class Heartbeat:
    """The last heartbeat of a running worker."""

    worker: str
    age_s: float

    @property
    def place(self) -> str:
        return host_of(self.worker)


@contextmanager
def sole_process(
    process: str, data_directory: Path, wait_s: float = 0.0, *, remedy: str = ANOTHER_FOLDER
) -> Iterator[None]:
    """Hold the data folder's lock for `process`.

    Raises DataDirectoryInUse if another process still holds it after `wait_s`, and SettingsError if the folder cannot
    be used. `remedy` is the part of these errors about choosing another folder.
    """
    lock = FileLock(data_directory / f"{process}.lock", timeout=wait_s)
    try:
        data_directory.mkdir(parents=True, exist_ok=True)
        held = lock.acquire()
    except Timeout as error:
        raise DataDirectoryInUse(process, data_directory, remedy) from error
    except OSError as error:
        writable = "make it writable for this user, or " if isinstance(error, PermissionError) else ""
        raise SettingsError(
            f"the folder {data_directory} cannot be used ({error.strerror}): {writable}{remedy}"
        ) from error
    with held:
        yield


@contextmanager
def sole_token(token: str, shard: str = BOT) -> Iterator[None]:
    """Hold this machine's lock on a bot token's shard; raises TokenInUse if another bot holds it."""
    name = hashlib.sha256((token if shard == BOT else f"{token} {shard}").encode()).hexdigest()[:16]
    path = Path(tempfile.gettempdir()) / f"reactune-{name}.lock"
    lock = FileLock(path, timeout=0, mode=0o600)
    try:
        held = lock.acquire()
    except Timeout as error:
        raise TokenInUse from error
    except PermissionError as error:
        raise SettingsError(
            f"another user of this machine ran the bot with this DISCORD_TOKEN: delete {path} if it is not running"
        ) from error
    with held:
        yield


def worker_name(data_directory: Path) -> str:
    """Name this installation by its host, its data folder and a random mark; the name is the same at every start.

    The mark is needed because containers on several hosts can have the same host name and path.
    """
    mark = f"{MARK}{_mark_of(data_directory)}"
    return f"{socket.gethostname()}:{data_directory.resolve()}"[: 255 - len(mark)] + mark


def host_of(worker: str) -> str:
    """Return a worker's host and folder, as shown to people."""
    return worker.rpartition(MARK)[0] or worker


def _mark_of(data_directory: Path) -> str:
    """Return the folder's random mark, which is created when the folder is first used."""
    path = data_directory / WORKER_FILE
    data_directory.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_suffix(".lock")):
        if not path.exists():
            path.write_text(secrets.token_hex(4), encoding="ascii")
    return path.read_text(encoding="ascii")


def record_heartbeat(session: Session, process: str, worker: str) -> None:
    session.merge(HeartbeatRow(process=process, worker=worker, beat_at=database_now(session)))


def is_alive(session: Session, process: str, worker: str | None = None) -> bool:
    """Return whether the process had a heartbeat lately, on any machine or as `worker`."""
    return any(worker in (None, heartbeat.worker) for heartbeat in live_processes(session, process))


def live_processes(session: Session, process: str) -> list[Heartbeat]:
    """Return the heartbeats of the last SILENT_AFTER_S seconds, sorted by worker."""
    now = database_now(session)
    rows = session.scalars(
        select(HeartbeatRow)
        .where(HeartbeatRow.process == process, HeartbeatRow.beat_at > now - timedelta(seconds=SILENT_AFTER_S))
        .order_by(HeartbeatRow.worker)
    )
    return [Heartbeat(row.worker, max(0.0, (now - row.beat_at).total_seconds())) for row in rows]


def require_unused(session: Session, data_directory: Path) -> None:
    """Raise DataDirectoryInUse if a bot or trainer uses the database.

    The caller holds the locks of this folder's own bot and trainer, so their last signs of life do not count.
    """
    alive = database_now(session) - timedelta(seconds=SILENT_AFTER_S)
    locked_out = (HeartbeatRow.worker == worker_name(data_directory)) & HeartbeatRow.process.in_((BOT, TRAINER))
    used = select(HeartbeatRow).where(
        HeartbeatRow.process.startswith(BOT) | (HeartbeatRow.process == TRAINER),
        HeartbeatRow.beat_at > alive,
        ~locked_out,
    )
    if other := session.scalars(used.order_by(HeartbeatRow.process).limit(1)).first():
        remedy = f"wait {SILENT_AFTER_S:.0f} s if it has stopped"
        raise DataDirectoryInUse(other.process, host_of(other.worker), remedy)


def last_heartbeat(session: Session, process: str, worker: str) -> datetime | None:
    row = session.get(HeartbeatRow, (process, worker))
    return row.beat_at if row else None


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
