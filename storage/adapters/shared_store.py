"""Adapters that several machines share, with a cache on this one, and copies of adapters for remote servers."""

from __future__ import annotations

import json
import logging
import os
import secrets
import shutil
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from filelock import FileLock

from storage.adapters.folder_store import (
    AS_TRAINED,
    CONFIG_FILE,
    DIGEST,
    WEIGHTS_FILE,
    AdapterRef,
    AdapterStore,
    verify,
)
from storage.adapters.object_store import AdapterObjects
from storage.errors import AdapterError, StoreUnreachable
from storage.files import link_or_copy

log = logging.getLogger(__name__)

SERVED_FOLDER = "served"
SERVED_PREFIX = "reactune-"
"""Prefix of our versions' names on servers; adapters with other names are not ours."""
NAME_DIGITS = 16
SCALES = ("lora_alpha", "alpha_pattern")
KEPT_S = 24 * 3600.0
"""Time to keep a copy that no server has loaded yet, because a process may be about to load it."""
IN_USE_S = 3600.0
"""Time that a used adapter stays in the cache, because a process may be about to load it."""
RETRY_S = 30.0
"""Pause after a failed download before the next attempt, so that answers do not wait for it."""


def served_name(adapter: AdapterRef) -> str:
    """Return the name of a version at a strength, unique among all versions."""
    strength = "" if adapter.strength == AS_TRAINED else f"-x{adapter.strength:g}"
    return f"{SERVED_PREFIX}{adapter.digest[:NAME_DIGITS]}{strength}"


def open_served_copies(data_directory: Path) -> ServedAdapterCopies:
    return ServedAdapterCopies(data_directory / SERVED_FOLDER)


class ServedAdapterCopies:
    """A folder of PEFT adapters. Several processes may use it: copies appear complete and are never changed."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def put(self, adapter: AdapterRef) -> Path:
        """Return the folder of the version's copy, making it if necessary; raises AdapterError on disk errors.

        vLLM has no setting for strength, so it is part of the copy's scale.
        """
        final = self._directory.absolute() / served_name(adapter)
        try:
            if not final.exists():
                self._write(adapter, final)
        except OSError as error:
            raise AdapterError(
                f"the adapter {adapter.digest[:12]} cannot be copied to {self._directory} ({error.strerror or error}): "
                "make it writable for this user, and free space there"
            ) from error
        return final

    def remove(self, digest: str) -> int:
        """Remove all copies of a version and return how many there were."""
        copies = list(self._directory.glob(f"{SERVED_PREFIX}{digest[:NAME_DIGITS]}*"))
        for copy in copies:
            shutil.rmtree(copy, ignore_errors=True)
        return len(copies)

    def sweep(self, loaded: Collection[str]) -> int:
        """Remove copies older than a day that no server has `loaded`, and return how many."""
        old = [copy for copy in self._directory.glob(f"*{SERVED_PREFIX}*") if _age_s(copy) > KEPT_S]
        unused = [copy for copy in old if copy.name not in loaded]
        for copy in unused:
            shutil.rmtree(copy, ignore_errors=True)
        return len(unused)

    def _write(self, adapter: AdapterRef, final: Path) -> None:
        staging = final.with_name(f".{final.name}-{secrets.token_hex(4)}")
        staging.mkdir(parents=True)
        try:
            config = json.loads((adapter.path / CONFIG_FILE).read_text(encoding="utf-8"))
            (staging / CONFIG_FILE).write_text(json.dumps(_scaled(config, adapter.strength)), encoding="utf-8")
            link_or_copy(adapter.path / WEIGHTS_FILE, staging / WEIGHTS_FILE)
            _move(staging, final)
        finally:
            shutil.rmtree(staging, ignore_errors=True)


def _scaled(config: dict[str, Any], strength: float) -> dict[str, Any]:
    def times(value: Any) -> Any:
        return {name: one * strength for name, one in value.items()} if isinstance(value, dict) else value * strength

    return config | {key: times(config[key]) for key in SCALES if config.get(key)}


def _move(staging: Path, final: Path) -> None:
    try:
        staging.rename(final)
    except OSError:
        if not final.exists():  # another process may have been faster
            raise


def _age_s(folder: Path) -> float:
    try:
        return time.time() - folder.stat().st_mtime
    except FileNotFoundError:
        return 0.0


class SharedAdapterStore(AdapterStore):
    """Publishes to the shared store and reads from the cache; cached adapters need no network."""

    def __init__(self, cache: Path, remote: AdapterObjects, cache_bytes: int) -> None:
        super().__init__(cache)
        self._remote = remote
        self._cache_bytes = cache_bytes
        self._failures: dict[str, tuple[float, AdapterError]] = {}
        """{digest: (time of the failed download, its error)}"""

    def publish(self, staging: Path) -> str:
        digest = super().publish(staging)
        with self._explaining_disk_errors():
            self._remote.upload(self._checked(digest), digest)
        return digest

    def list_digests(self) -> set[str]:
        """Return the digests of the adapters in the cache or in the shared store; raises StoreUnreachable."""
        return super().list_digests() | set(filter(DIGEST.fullmatch, self._remote.list_names()))

    def remove(self, digest: str) -> bool:
        """Remove the adapter from the cache, then from the shared store; raises StoreUnreachable after the first."""
        was_cached = super().remove(digest)
        if DIGEST.fullmatch(digest) is None or self._remote.awaits_row(digest):
            return was_cached
        was_stored = self._remote.holds(digest)
        self._remote.remove(digest)
        return was_cached or was_stored

    def sweep(self, read_known: Callable[[], Collection[str]]) -> int:
        return super().sweep(read_known) + self._sweep_shared(read_known())

    def prefetch(self, digests: Collection[str]) -> list[str]:
        """Download these adapters, and make room by dropping the least recently used others."""
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
        """Return the adapter's folder in the cache; a missing or damaged adapter is downloaded first."""
        try:
            folder = super()._checked(digest)
        except AdapterError:
            self._fetch(digest)
            folder = super()._checked(digest)
        with suppress(OSError):
            os.utime(folder)  # the last use
        return folder

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
        """Yield (time of last use, size in bytes, folder) of each cached adapter."""
        for folder in self._directory.glob("*") if self._directory.is_dir() else ():
            with suppress(OSError):  # dropped by another process
                if DIGEST.fullmatch(folder.name):
                    yield folder.stat().st_mtime, sum(file.stat().st_size for file in folder.iterdir()), folder

    def _drop(self, folder: Path) -> None:
        """Remove an adapter from the cache, atomically for other processes."""
        with suppress(FileNotFoundError), self.stage() as staging:
            folder.replace(staging / folder.name)

    def _sweep_shared(self, known: Collection[str]) -> int:
        try:
            return self._remote.sweep(known)
        except StoreUnreachable as error:
            log.warning("Leftover adapters in the shared store were not removed: %s.", error)
            return 0
