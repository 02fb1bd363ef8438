"""The two processes: one of each per data folder, and the last sign of life of each."""

from __future__ import annotations

import hashlib
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from storage.errors import DataDirectoryInUse, SettingsError, TokenInUse
from storage.schema import HeartbeatRow, utc_now

CREATE_NEW_PROCESS_GROUP = 0x200  # Windows' number; subprocess has the name there alone
# Ctrl-C reaches every process of a terminal; those that a longer-lived one will end itself are kept out of it.
DETACHED: dict[str, Any] = (
    {"creationflags": CREATE_NEW_PROCESS_GROUP} if sys.platform == "win32" else {"start_new_session": True}
)
BOT = "bot"
TRAINER = "trainer"
HEARTBEAT_S = 5.0
SILENT_AFTER_S = 30.0


@contextmanager
def sole_process(process: str, data_directory: Path, wait_s: float = 0.0) -> Iterator[None]:
    """Hold the data folder's lock for `process`; raises DataDirectoryInUse where another one holds it for `wait_s`."""
    lock = FileLock(data_directory / f"{process}.lock", timeout=wait_s)
    try:
        data_directory.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout as error:
        raise DataDirectoryInUse(process, data_directory) from error
    except OSError as error:
        raise SettingsError(
            f"the folder {data_directory} cannot be used ({error.strerror}): "
            "make it writable for this user, or set data.directory to another folder"
        ) from error
    try:
        yield
    finally:
        lock.release()


@contextmanager
def sole_token(token: str, shard: str = BOT) -> Iterator[None]:
    """Hold this machine's lock for a shard of a bot token; raises TokenInUse while another bot uses it."""
    name = hashlib.sha256((token if shard == BOT else f"{token} {shard}").encode()).hexdigest()[:16]
    path = Path(tempfile.gettempdir()) / f"reactune-{name}.lock"
    lock = FileLock(path, timeout=0, mode=0o600)
    try:
        lock.acquire()
    except Timeout as error:
        raise TokenInUse from error
    except PermissionError as error:
        raise SettingsError(
            f"the bot with this DISCORD_TOKEN was last run by another user: delete {path} if it runs no more"
        ) from error
    try:
        yield
    finally:
        lock.release()


def worker_name(data_directory: Path) -> str:
    """Name this installation: the machine and the data folder, the same at every start."""
    return f"{socket.gethostname()}:{data_directory.resolve()}"[-255:]


def beat(session: Session, process: str, worker: str) -> None:
    """Note that the process lives."""
    session.merge(HeartbeatRow(process=process, worker=worker, beat_at=utc_now()))


def is_alive(session: Session, process: str, worker: str | None = None) -> bool:
    """Return whether the process gave a sign of life lately, on any machine or as `worker`."""
    last = select(func.max(HeartbeatRow.beat_at)).where(HeartbeatRow.process == process)
    if worker is not None:
        last = last.where(HeartbeatRow.worker == worker)
    beat_at = session.scalar(last)
    return beat_at is not None and utc_now() - beat_at < timedelta(seconds=SILENT_AFTER_S)


def last_beat(session: Session, process: str, worker: str) -> datetime | None:
    row = session.get(HeartbeatRow, (process, worker))
    return row.beat_at if row else None
