"""An adapter store that several hosts share, with a local cache of the adapters that this host needs."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path

from filelock import FileLock

from storage.adapters.files import verify
from storage.adapters.folder_store import DIGEST, AdapterStore
from storage.adapters.object_store import AdapterObjects
from storage.errors import AdapterError, StoreUnreachable

IN_USE_S = 3600.0
"""An adapter used within this time stays in the cache: a process may be about to load it."""
RETRY_S = 30.0
"""Pause after a failed download before the next attempt, so that answers do not wait for it."""

log = logging.getLogger(__name__)


class SharedAdapterStore(AdapterStore):
    """Publishes to the shared store and reads from the cache; cached adapters need no network."""

    def __init__(self, cache: Path, remote: AdapterObjects, cache_bytes: int) -> None:
        super().__init__(cache)
        self._remote = remote
        self._cache_bytes = cache_bytes
        self._failures: dict[str, tuple[float, AdapterError]] = {}
        """{digest: (when a download failed, why)}"""

    def publish(self, staging: Path) -> str:
        digest = super().publish(staging)
        with self._explaining_disk_errors():
            self._remote.upload(self._checked(digest), digest)
        return digest

    def remove(self, digest: str) -> bool:
        """Remove it from the cache, then from the shared store; raises StoreUnreachable after the first."""
        was_cached = super().remove(digest)
        if DIGEST.fullmatch(digest) is None or self._remote.awaits_row(digest):
            return was_cached
        was_stored = self._remote.holds(digest)
        self._remote.remove(digest)
        return was_cached or was_stored

    def sweep(self, known: Collection[str]) -> int:
        return super().sweep(known) + self._sweep_shared(known)

    def prefetch(self, digests: Collection[str]) -> list[str]:
        """Download these, and make room by dropping others, the least recently used first."""
        problems = []
        for digest in digests:
            try:
                self.path(digest)
            except AdapterError as error:
                problems.append(str(error))
        with suppress(StoreUnreachable):  # adapters are only dropped if they can be downloaded again
            self._make_room(digests)
        return problems

    def examine(self) -> str:
        self._remote.probe()
        super().examine()
        return f"{self._remote.url}, which is writable; the cache is {self._directory}"

    def _checked(self, digest: str) -> Path:
        """Return the adapter in the cache; it is downloaded first if it is missing or damaged."""
        try:
            folder = super()._checked(digest)
        except AdapterError:
            self._fetch(digest)
            folder = super()._checked(digest)
        with suppress(OSError):
            os.utime(folder)  # the last use
        return folder

    def _is_sound(self, digest: str) -> bool:
        try:
            super()._checked(digest)
        except AdapterError:
            return False
        return True

    def _fetch(self, digest: str) -> None:
        when, failure = self._failures.get(digest, (0.0, None))
        if failure is not None and time.monotonic() < when + RETRY_S:
            raise AdapterError(str(failure)) from failure
        try:
            with self._explaining_disk_errors():
                self._directory.mkdir(parents=True, exist_ok=True)
                with FileLock(self._directory.with_name(f"{self._directory.name}.fetch.lock")):
                    self._download(digest)
        except AdapterError as error:
            self._failures[digest] = (time.monotonic(), error)
            raise
        self._failures.pop(digest, None)

    def _download(self, digest: str) -> None:
        if self._is_sound(digest):
            return  # another process has just downloaded it
        with self.stage() as staging:
            self._remote.download(digest, staging)
            verify(staging, digest, self._remote.url)
            self._move_in(staging, digest)

    def _make_room(self, kept: Collection[str]) -> None:
        cached = sorted(self._cached())
        too_much = sum(size for _, size, _ in cached) - self._cache_bytes
        for used_at, size, folder in cached:
            if too_much <= 0:
                return
            is_idle = used_at < time.time() - IN_USE_S
            if folder.name not in kept and is_idle and self._remote.holds(folder.name):
                self._drop(folder)
                too_much -= size

    def _cached(self) -> Iterator[tuple[float, int, Path]]:
        """Yield for each cached adapter when it was last used, its size in bytes and its folder."""
        for folder in self._directory.glob("*") if self._directory.is_dir() else ():
            with suppress(OSError):  # dropped by another process
                if DIGEST.fullmatch(folder.name):
                    yield folder.stat().st_mtime, sum(file.stat().st_size for file in folder.iterdir()), folder

    def _drop(self, folder: Path) -> None:
        """Remove an adapter from the cache atomically for other processes."""
        with suppress(FileNotFoundError), self.stage() as staging:
            folder.replace(staging / folder.name)

    def _sweep_shared(self, known: Collection[str]) -> int:
        try:
            return self._remote.sweep(known)
        except StoreUnreachable as error:
            log.warning("Leftover adapters in the shared store were not removed: %s.", error)
            return 0
