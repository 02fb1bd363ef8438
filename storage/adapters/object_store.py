"""Adapters as objects in any store that fsspec supports: S3, Google's, Azure's, a shared folder.

Objects cannot be renamed atomically, so the file with checksums is written last: an adapter without it does not exist.
"""

from __future__ import annotations

import errno
import hashlib
import logging
import secrets
from collections.abc import Callable, Collection
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import fsspec
from tenacity import Retrying

from storage.adapters.folder_store import CHECKSUMS_FILE, FILES, UNREGISTERED_PREFIX, damaged
from storage.errors import SettingsError, StoreUnreachable
from storage.retrying import retries

T = TypeVar("T")

READ_RETRY_S = 3.0
WRITE_RETRY_S = 120.0
"""Longer than for reading, so that a minute without a network does not lose hours of training."""
LEFTOVER_AGE = timedelta(days=1)
"""An older adapter without a version is a leftover; a host may still be about to write the row of a younger one."""
BLOCK_BYTES = 8 * 1024 * 1024
LOCAL_FAILURES = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
"""Errors of the local disk, not of the store."""
OPTIONS: dict[str, dict[str, Any]] = {
    "file": {"auto_mkdir": True},
    "s3": {"config_kwargs": {"connect_timeout": 10, "read_timeout": 30}},  # botocore's defaults are a minute each
}
EXTRAS = {"s3": "reactune[s3]", "s3a": "reactune[s3]", "gs": "gcsfs", "gcs": "gcsfs", "abfs": "adlfs", "az": "adlfs"}

log = logging.getLogger(__name__)


class AdapterObjects:
    """The objects at one address. Hosts may write at the same time: equal digests mean equal bytes."""

    def __init__(
        self,
        url: str,
        read_retry_s: float = READ_RETRY_S,
        write_retry_s: float = WRITE_RETRY_S,
        leftover_age: timedelta = LEFTOVER_AGE,
    ) -> None:
        """Connect later; raises SettingsError if no installed package supports the address."""
        self.url = url.rstrip("/")
        self._files, self._root = _open(self.url)
        self._read_retry_s = read_retry_s
        self._write_retry_s = write_retry_s
        self._leftover_age = leftover_age

    def upload(self, folder: Path, digest: str) -> None:
        """Store the adapter unless it is already complete there.

        It is first marked as unregistered, until `sweep` finds its version's row. Raises StoreUnreachable, and
        AdapterError if it was altered on the way.
        """
        if not self._write(lambda: self._upload(folder, digest)):
            raise damaged(digest, "its files differ from those that were written", self.url)

    def download(self, digest: str, folder: Path) -> None:
        """Copy the adapter's files unchecked; raises AdapterError if one is missing, and StoreUnreachable."""
        for name in reversed(FILES):  # the file that is written last shows first whether the adapter is complete
            try:
                self._read(lambda name=name: self._files.get_file(self._at(digest, name), str(folder / name)))
            except FileNotFoundError as error:
                raise damaged(digest, f"{name} is missing", self.url) from error

    def holds(self, digest: str) -> bool:
        """Return whether the adapter was stored completely; raises StoreUnreachable."""
        try:
            checksums = self._read(lambda: self._files.cat_file(self._at(digest, CHECKSUMS_FILE)))
        except FileNotFoundError:
            return False
        return hashlib.sha256(checksums).hexdigest() == digest

    def list_names(self) -> list[str]:
        """Return the names of the adapters, and of other objects beside them; raises StoreUnreachable."""
        try:
            paths = self._read(lambda: self._files.ls(self._root, detail=False))
        except FileNotFoundError:
            return []
        return [path.rstrip("/").rpartition("/")[2] for path in paths]

    def awaits_row(self, digest: str) -> bool:
        """Return whether the adapter was published and waits for its version's row; raises StoreUnreachable."""
        return bool(self._read(lambda: self._files.exists(self._at(f"{UNREGISTERED_PREFIX}{digest}"))))

    def remove(self, digest: str) -> None:
        """Remove the adapter's objects, the file that completes it first; raises StoreUnreachable."""
        for name in reversed(FILES):
            self._remove(self._at(digest, name))
        self._remove(self._at(f"{UNREGISTERED_PREFIX}{digest}"))

    def sweep(self, known: Collection[str]) -> int:
        """Remove old adapters without a version, and return how many; raises StoreUnreachable.

        No lock can hold off other hosts, so a host must write the row before an adapter is that old.
        """
        marked = self._unregistered()
        for digest in marked.keys() & set(known):
            self._remove(self._at(f"{UNREGISTERED_PREFIX}{digest}"))
        unknown = marked.keys() - set(known)
        if not unknown:
            return 0
        oldest = self._now() - self._leftover_age
        left_over = [digest for digest in unknown if marked[digest] < oldest]
        for digest in left_over:
            self.remove(digest)
        return len(left_over)

    def probe(self) -> None:
        """Write and remove an object; raises StoreUnreachable."""
        self._now()

    def _upload(self, folder: Path, digest: str) -> bool:
        """Store the adapter unless it is complete there, and return whether it reads back correctly."""
        if self._is_sound(digest):
            return True
        self._files.pipe_file(self._at(f"{UNREGISTERED_PREFIX}{digest}"), b"")
        for name in FILES:
            self._files.put_file(str(folder / name), self._at(digest, name))
        return self._is_sound(digest)

    def _is_sound(self, digest: str) -> bool:
        """Read the adapter back and compare it: every store computes entity tags differently."""
        try:
            checksums = self._files.cat_file(self._at(digest, CHECKSUMS_FILE))
            if hashlib.sha256(checksums).hexdigest() != digest:
                return False
            lines = [line.split("  ", 1) for line in checksums.decode("ascii").splitlines()]
            return all(self._digest(self._at(digest, name)) == expected for expected, name in lines)
        except FileNotFoundError:
            return False

    def _digest(self, path: str) -> str:
        with self._files.open(path, "rb", block_size=BLOCK_BYTES) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def _unregistered(self) -> dict[str, datetime]:
        """Return {digest: time of its unregistered mark, by the store's clock}."""
        found = {}
        for name in self.list_names():
            if name.startswith(UNREGISTERED_PREFIX) and (since := self._modified(self._at(name))) is not None:
                found[name.removeprefix(UNREGISTERED_PREFIX)] = since
        return found

    def _modified(self, path: str) -> datetime | None:
        try:
            since: datetime = self._read(lambda: self._files.modified(path))
        except FileNotFoundError:
            return None  # another host has just swept
        return since

    def _now(self) -> datetime:
        """Return the time of the store's clock, because hosts' clocks differ and jump."""
        path = self._at(f".probe-{secrets.token_hex(8)}")

        def ask() -> datetime:
            self._files.pipe_file(path, b"now")
            now: datetime = self._files.modified(path)
            self._files.rm_file(path)
            return now

        return self._write(ask, self._read_retry_s)

    def _remove(self, path: str) -> None:
        try:
            self._read(lambda: self._files.rm_file(path))
        except FileNotFoundError:
            return

    def _at(self, *names: str) -> str:
        return "/".join([self._root, *names])

    def _read(self, work: Callable[[], T]) -> T:
        return self._try(work, self._read_retry_s)

    def _write(self, work: Callable[[], T], retry_s: float | None = None) -> T:
        try:
            return self._try(work, self._write_retry_s if retry_s is None else retry_s)
        except FileNotFoundError as error:  # the bucket or folder does not exist
            raise StoreUnreachable(self.url, error) from error

    def _try(self, work: Callable[[], T], retry_s: float) -> T:
        """Return the result of `work`, retried for `retry_s` seconds; raises FileNotFoundError and StoreUnreachable."""
        report = partial(log.warning, "The adapter store %s does not answer (%s); trying again.", self.url)
        try:
            return Retrying(**retries(_may_pass, report, retry_s))(work)
        except Exception as error:
            if _is_final(error):
                raise
            raise StoreUnreachable(self.url, error) from error


def _may_pass(error: BaseException) -> bool:
    # Every file system has its own errors.
    return isinstance(error, Exception) and not isinstance(error, PermissionError) and not _is_final(error)


def _is_final(error: Exception) -> bool:
    return isinstance(error, FileNotFoundError) or (isinstance(error, OSError) and error.errno in LOCAL_FAILURES)


def _open(url: str) -> tuple[Any, str]:
    protocol = url.partition("://")[0]
    try:
        # Listings are not cached: other hosts write too.
        files, root = fsspec.url_to_fs(url, use_listings_cache=False, **OPTIONS.get(protocol, {}))
    except ImportError as error:
        remedy = (
            f"run `pip install '{EXTRAS[protocol]}'`" if protocol in EXTRAS else "install the one that fsspec needs"
        )
        raise SettingsError(
            f"data.adapters = {url!r} needs a package that is not installed: {remedy} for {protocol}://"
        ) from error
    except ValueError as error:
        raise SettingsError(
            f"data.adapters = {url!r} cannot be used ({error}): write an address such as s3://bucket/folder"
        ) from error
    return files, root.rstrip("/")
