"""Adapters in a folder: their allowed files, the digest of their bytes, and the store that holds them."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import secrets
import shutil
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from filelock import FileLock, Timeout
from safetensors import SafetensorError, safe_open

from storage.errors import AdapterError
from storage.files import read_json_object, sha256_of, sync_file, sync_to_disk

CONFIG_FILE = "adapter_config.json"
WEIGHTS_FILE = "adapter_model.safetensors"
CHECKSUMS_FILE = "SHA256SUMS"
"""Lines in the format of `sha256sum`; the digest of this file names the adapter."""
FILES = (CONFIG_FILE, WEIGHTS_FILE, CHECKSUMS_FILE)
"""All files of an adapter, in the order in which they are written: the last one completes it."""
DROPPED_FILES = frozenset({"README.md", CHECKSUMS_FILE})  # PEFT's model card contains paths of this machine

Stamp = tuple[tuple[str, int, int], ...]
AS_TRAINED = 1.0
"""The strength of an adapter exactly as it was trained."""
DIGEST = re.compile(r"[0-9a-f]{64}")
STAGING_PREFIX = ".staging-"
UNREGISTERED_PREFIX = ".unregistered-"
"""A file with this prefix and the digest marks a published adapter until `sweep` finds its version's row."""


def seal(staging: Path) -> str:
    """Prepare a PEFT folder for publication and return its digest; raises AdapterError if it may not be published."""
    _keep_adapter_files(staging)
    _normalise_config(staging / CONFIG_FILE)
    checksums = "".join(f"{sha256_of(staging / name)}  {name}\n" for name in (CONFIG_FILE, WEIGHTS_FILE))
    (staging / CHECKSUMS_FILE).write_text(checksums, encoding="ascii")
    return hashlib.sha256(checksums.encode()).hexdigest()


def _keep_adapter_files(staging: Path) -> None:
    for path in sorted(staging.iterdir()):
        if path.name in DROPPED_FILES:
            path.unlink()
        elif path.name not in (CONFIG_FILE, WEIGHTS_FILE) or path.is_symlink() or not path.is_file():
            raise AdapterError(
                f"an adapter cannot contain {path.name}: only {CONFIG_FILE} and {WEIGHTS_FILE} are accepted, "
                "because other formats can run code when they are loaded"
            )
    for name in (CONFIG_FILE, WEIGHTS_FILE):
        if not (staging / name).exists():
            raise AdapterError(f"the adapter has no {name}: save it again with PEFT as safetensors")
    _require_safetensors(staging / WEIGHTS_FILE)


def _require_safetensors(path: Path) -> None:
    try:
        with safe_open(path, framework="numpy"):
            pass
    except SafetensorError as error:
        raise AdapterError(f"{path.name} is truncated or not a safetensors file ({error}): save it again") from error


def _normalise_config(path: Path) -> None:
    """Rewrite PEFT's configuration so that equal adapters have equal bytes on every machine."""
    config = read_config(path) | {"inference_mode": True}
    if isinstance(config.get("target_modules"), list):  # PEFT saves a set, in random order
        config["target_modules"] = sorted(config["target_modules"])
    config["base_model_name_or_path"] = _without_folders(config.get("base_model_name_or_path"))
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _without_folders(name: str | None) -> str | None:
    if name is None or not (PurePosixPath(name).is_absolute() or PureWindowsPath(name).is_absolute()):
        return name
    return PureWindowsPath(name).name


def read_config(path: Path) -> dict[str, Any]:
    try:
        return read_json_object(path)
    except (OSError, ValueError) as error:
        raise AdapterError(f"{path} cannot be read ({error}): restore the adapter from a backup") from error


def stamp_of(folder: Path) -> Stamp:
    """Return the name, size and modification time of each file; raises AdapterError on a missing one."""
    stamp = []
    for name in (CHECKSUMS_FILE, CONFIG_FILE, WEIGHTS_FILE):
        try:
            status = (folder / name).stat()
        except OSError as error:
            missing = name if folder.is_dir() else "the folder"
            raise damaged(folder.name, f"{missing} is missing", folder.parent) from error
        stamp.append((name, status.st_size, status.st_mtime_ns))
    return tuple(stamp)


def verify(folder: Path, digest: str, place: str = "") -> None:
    """Raise AdapterError unless the folder's bytes match the digest; `place` names their origin in the error."""
    place = place or str(folder.parent)
    try:
        checksums = (folder / CHECKSUMS_FILE).read_bytes()
        if hashlib.sha256(checksums).hexdigest() != digest:
            raise damaged(digest, f"{CHECKSUMS_FILE} was altered", place)
        for line in checksums.decode("ascii").splitlines():
            expected, name = line.split("  ", 1)
            if sha256_of(folder / name) != expected:
                raise damaged(digest, f"{name} was truncated or altered", place)
    except OSError as error:
        raise damaged(digest, f"a file cannot be read ({error.strerror or error})", place) from error


def damaged(digest: str, what: str, place: str | Path) -> AdapterError:
    return AdapterError(
        f"the adapter {digest[:12]} cannot be used, {what} in {place}: "
        "restore it from a backup, or roll back to another version"
    )


@dataclass(frozen=True)
class AdapterRef:
    digest: str
    """Identifies the adapter's content; equal digests are loaded once for each strength."""
    path: Path
    strength: float = AS_TRAINED
    """Factor applied to the adapter's effect."""


class AdapterStore:
    """A folder of immutable adapters, each complete or absent. Several processes may use one store."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._verified: dict[str, Stamp] = {}

    @contextlib.contextmanager
    def stage(self) -> Iterator[Path]:
        """Yield a new folder in the store, protected from `sweep`, and removed on exit unless it was published."""
        self._directory.mkdir(parents=True, exist_ok=True)
        staging = self._directory / f"{STAGING_PREFIX}{os.getpid()}-{secrets.token_hex(4)}"
        with FileLock(_lock_path(staging)):
            staging.mkdir()
            try:
                yield staging
            finally:
                shutil.rmtree(staging, ignore_errors=True)
                _lock_path(staging).unlink(missing_ok=True)

    @property
    def _registering_lock(self) -> Path:
        return self._directory.with_name(f"{self._directory.name}.lock")

    @contextlib.contextmanager
    def registering(self) -> Iterator[None]:
        """Hold off `sweep`, so that it does not remove an adapter whose row is written in this block."""
        self._directory.mkdir(parents=True, exist_ok=True)
        with FileLock(self._registering_lock):
            yield

    def publish(self, staging: Path) -> str:
        """Move a staged PEFT folder to its final place and return its digest, 64 hex digits.

        Raises AdapterError on files other than the configuration and safetensors weights, on broken files and on disk
        errors; nothing is published then.
        """
        with self._explaining_disk_errors():
            digest = self.seal(staging)
            if not self._is_sound(digest):
                (self._directory / f"{UNREGISTERED_PREFIX}{digest}").touch()
                self._move_in(staging, digest)
        return digest

    def seal(self, staging: Path) -> str:
        """Prepare a staged folder for publication and return its digest, without publishing; raises like `publish`."""
        with self._explaining_disk_errors():
            return seal(staging)

    @contextlib.contextmanager
    def _explaining_disk_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise AdapterError(
                f"the adapter cannot be written to {self._directory} ({error.strerror or error}): "
                "free space there, or make it writable for this user, then train again"
            ) from error

    def path(self, digest: str) -> Path:
        """Return the folder of a complete, unaltered adapter; raises AdapterError if it is not."""
        if DIGEST.fullmatch(digest) is None:
            raise AdapterError(f"{digest!r} is not an adapter digest: it must have 64 hexadecimal digits")
        return self._checked(digest)

    def prefetch(self, digests: Collection[str]) -> list[str]:  # noqa: ARG002
        """Make these adapters available without a network; return an error message for each failure."""
        return []

    def examine(self) -> str:
        """Return where adapters are stored, after testing that they can be written there; raises AdapterError."""
        with self._explaining_disk_errors(), self.stage():
            return f"the folder {self._directory}"

    def _checked(self, digest: str) -> Path:
        folder = self._directory / digest
        stamp = stamp_of(folder)
        if self._verified.get(digest) != stamp:
            verify(folder, digest)
            self._verified[digest] = stamp
        return folder

    def list_digests(self) -> set[str]:
        """Return the digests of the adapters that are here, incomplete ones included."""
        return {folder.name for folder in self._directory.glob("*") if DIGEST.fullmatch(folder.name)}

    def remove(self, digest: str) -> bool:
        """Remove an adapter's files and return whether there were any; processes that opened them can still read them.

        An adapter that was published again and waits for its version's row is kept.
        """
        if DIGEST.fullmatch(digest) is None or (self._directory / f"{UNREGISTERED_PREFIX}{digest}").exists():
            return False
        # Renamed first, so that a reader finds it complete or not at all.
        with self.stage() as doomed, contextlib.suppress(FileNotFoundError):
            (self._directory / digest).rename(doomed / digest)
            return True
        return False

    def sweep(self, read_known: Callable[[], Collection[str]]) -> int:
        """Remove the folders that crashed processes left, except staging folders in use, and return their number.

        Adapters published since the last sweep are also removed if no version's row names them: `read_known` returns
        the digests of all rows, and is called while no import can write one. The caller ensures that no running round
        can still register a version in this store.
        """
        return self._sweep_staging() + self._sweep_unregistered(read_known)

    def _sweep_staging(self) -> int:
        removed = 0
        for lock_path in self._directory.glob(f"{STAGING_PREFIX}*.lock"):
            # The operating system frees the lock of a dead process, even in another container on the same volume.
            with contextlib.suppress(Timeout), FileLock(lock_path, timeout=0):
                shutil.rmtree(lock_path.with_suffix(""), ignore_errors=True)
                lock_path.unlink(missing_ok=True)
                removed += 1
        return removed

    def _sweep_unregistered(self, read_known: Callable[[], Collection[str]]) -> int:
        try:
            with FileLock(self._registering_lock, timeout=0):
                return self._sweep_marked(read_known())
        except Timeout:
            return 0  # an import is about to write its row

    def _sweep_marked(self, known: Collection[str]) -> int:
        # Older adapters stay even if `known` lacks them: with a wrong database.url it lacks them all.
        removed = 0
        for marker in self._directory.glob(f"{UNREGISTERED_PREFIX}*"):
            digest = marker.name.removeprefix(UNREGISTERED_PREFIX)
            if digest not in known:
                shutil.rmtree(self._directory / digest, ignore_errors=True)
                removed += 1
            marker.unlink(missing_ok=True)
        return removed

    def _move_in(self, staging: Path, digest: str) -> None:
        """Move a staged folder to its final place, in one step."""
        final = self._directory / digest
        sync_to_disk(staging)
        shutil.rmtree(final, ignore_errors=True)
        staging.replace(final)
        sync_file(self._directory)

    def _is_sound(self, digest: str) -> bool:
        """Return whether the adapter is in the folder, complete and unaltered."""
        try:
            AdapterStore._checked(self, digest)
        except AdapterError:
            return False
        return True


def _lock_path(staging: Path) -> Path:
    return staging.with_name(f"{staging.name}.lock")
