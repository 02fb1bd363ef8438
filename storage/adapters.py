"""Adapter files: PEFT folders named by the digest of their content, published whole and checked on every use."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import secrets
import shutil
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from filelock import FileLock, Timeout
from safetensors import SafetensorError, safe_open

from storage.base_model import BaseModel
from storage.conversion import sync_names, sync_to_disk
from storage.errors import AdapterError
from storage.settings import Settings

CONFIG_FILE = "adapter_config.json"
WEIGHTS_FILE = "adapter_model.safetensors"
CHECKSUMS_FILE = "SHA256SUMS"
"""Lines as `sha256sum` writes them; the digest of this file names the adapter."""
DROPPED_FILES = frozenset({"README.md", CHECKSUMS_FILE})  # PEFT's model card names the machine's paths
DIGEST = re.compile(r"[0-9a-f]{64}")
STAGING_PREFIX = ".staging-"
UNREGISTERED_PREFIX = ".unregistered-"
"""A file of this name and the digest lies beside an adapter until `sweep` hears of its version's row."""

Stamp = tuple[tuple[str, int, int], ...]


@dataclass(frozen=True)
class AdapterRef:
    digest: str
    """Identifies the adapter's content; equal digests are loaded once for each strength."""
    path: Path
    strength: float = 1.0
    """Factor of its effect; 1 is as trained."""


def open_store(settings: Settings) -> AdapterStore:
    """Return the store in the data folder."""
    return AdapterStore(settings.data.directory / "adapters")


class AdapterStore:
    """A folder of immutable adapters. Several processes may use one store; files are complete or absent."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._verified: dict[str, Stamp] = {}

    @contextlib.contextmanager
    def stage(self) -> Iterator[Path]:
        """Yield a new folder inside the store, locked against `sweep` and removed on exit unless published."""
        self._directory.mkdir(parents=True, exist_ok=True)
        staging = self._new_staging_path()
        lock = FileLock(_lock_path(staging))
        with lock:
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
        """Let no `sweep` take what is published in here for left over before its row is written."""
        self._directory.mkdir(parents=True, exist_ok=True)
        with FileLock(self._registering_lock):
            yield

    def publish(self, staging: Path) -> str:
        """Move a staged PEFT folder to its final place and return its digest, 64 hex digits.

        Raises AdapterError on files other than the configuration and safetensors weights, on broken ones, and when the
        disk refuses; nothing is published then.
        """
        with self._explaining_disk_errors():
            return self._publish(staging)

    def seal(self, staging: Path) -> str:
        """Make of a staged folder what publishing would make of it, and return the digest; raises as `publish` does."""
        with self._explaining_disk_errors():
            _keep_adapter_files(staging)
            _normalise_config(staging / CONFIG_FILE)
            return hashlib.sha256(_write_checksums(staging).encode()).hexdigest()

    @contextlib.contextmanager
    def _explaining_disk_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise AdapterError(
                f"the adapter cannot be written to {self._directory} ({error.strerror or error}): "
                "free space on that disk, then train again"
            ) from error

    def path(self, digest: str) -> Path:
        """Return the folder of a complete, unaltered adapter; raises AdapterError naming what is wrong otherwise."""
        if DIGEST.fullmatch(digest) is None:
            raise AdapterError(f"{digest!r} is no adapter digest: 64 hexadecimal digits are expected")
        folder = self._directory / digest
        stamp = _stamp(folder)
        if self._verified.get(digest) != stamp:
            _verify(folder, digest)
            self._verified[digest] = stamp
        return folder

    def sweep(self, known: Collection[str]) -> int:
        """Remove what crashed runs left, and return how many folders that were; staging in use is left alone.

        Adapters published since the last sweep go too where no version's row names them: `known` has the digests of all
        rows. The caller sees to it that no round that could still register one runs on this store.
        """
        return self._sweep_staging() + self._sweep_unregistered(known)

    def _sweep_staging(self) -> int:
        removed = 0
        for lock_path in self._directory.glob(f"{STAGING_PREFIX}*.lock"):
            # The system frees the lock of a dead process, also of one in another container on the same volume.
            with contextlib.suppress(Timeout), FileLock(lock_path, timeout=0):
                shutil.rmtree(lock_path.with_suffix(""), ignore_errors=True)
                lock_path.unlink(missing_ok=True)
                removed += 1
        return removed

    def _sweep_unregistered(self, known: Collection[str]) -> int:
        try:
            with FileLock(self._registering_lock, timeout=0):
                return self._sweep_marked(known)
        except Timeout:
            return 0  # an import is about to write its row

    def _sweep_marked(self, known: Collection[str]) -> int:
        # Older ones stay, whatever `known` lacks: with a wrong database.url it would lack them all.
        removed = 0
        for marker in self._directory.glob(f"{UNREGISTERED_PREFIX}*"):
            digest = marker.name.removeprefix(UNREGISTERED_PREFIX)
            if digest not in known:
                shutil.rmtree(self._directory / digest, ignore_errors=True)
                removed += 1
            marker.unlink(missing_ok=True)
        return removed

    def _publish(self, staging: Path) -> str:
        digest = self.seal(staging)
        sync_to_disk(staging)
        final = self._directory / digest
        if not self._is_sound(digest):
            (self._directory / f"{UNREGISTERED_PREFIX}{digest}").touch()
            shutil.rmtree(final, ignore_errors=True)
            staging.replace(final)
        sync_names(self._directory)
        return digest

    def _is_sound(self, digest: str) -> bool:
        """Return whether the adapter is published, complete and unaltered."""
        try:
            self.path(digest)
        except AdapterError:
            return False
        return True

    def _new_staging_path(self) -> Path:
        return self._directory / f"{STAGING_PREFIX}{os.getpid()}-{secrets.token_hex(4)}"


def require_base(adapter: Path, base: BaseModel) -> None:
    """Raise AdapterError unless the adapter was trained on this base, byte for byte."""
    config = _read_config(adapter / CONFIG_FILE)
    if config.get("revision") != base.revision:
        trained_on = config.get("base_model_name_or_path") or "an unnamed base"
        raise AdapterError(
            f"the adapter {adapter.name[:12]} was trained on {trained_on} ({config.get('revision') or 'no revision'}), "
            f"not on {base.name} ({base.revision}, {base.architecture}): "
            "set model.base to the former, or choose a version of this base"
        )


def _lock_path(staging: Path) -> Path:
    return staging.with_name(f"{staging.name}.lock")


def _keep_adapter_files(staging: Path) -> None:
    for path in sorted(staging.iterdir()):
        if path.name in DROPPED_FILES:
            path.unlink()
        elif path.name not in (CONFIG_FILE, WEIGHTS_FILE) or path.is_symlink() or not path.is_file():
            raise AdapterError(
                f"an adapter may not hold {path.name}: only {CONFIG_FILE} and {WEIGHTS_FILE} are accepted, "
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
        raise AdapterError(f"{path.name} is truncated or no safetensors file ({error}): save it again") from error


def _normalise_config(path: Path) -> None:
    """Rewrite PEFT's configuration so that equal adapters have equal bytes on every machine."""
    config = _read_config(path) | {"inference_mode": True}
    if isinstance(config.get("target_modules"), list):  # a set in PEFT, saved in the order of a random hash
        config["target_modules"] = sorted(config["target_modules"])
    config["base_model_name_or_path"] = _without_folders(config.get("base_model_name_or_path"))
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _without_folders(name: str | None) -> str | None:
    if name is None or not (PurePosixPath(name).is_absolute() or PureWindowsPath(name).is_absolute()):
        return name
    return PureWindowsPath(name).name


def _read_config(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise AdapterError(f"{path} cannot be read ({error}): restore the adapter from a backup") from error
    if not isinstance(config, dict):
        raise AdapterError(f"{path} holds no JSON object: restore the adapter from a backup")
    return config


def _write_checksums(folder: Path) -> str:
    checksums = "".join(f"{_digest(folder / name)}  {name}\n" for name in (CONFIG_FILE, WEIGHTS_FILE))
    (folder / CHECKSUMS_FILE).write_text(checksums, encoding="ascii")
    return checksums


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _stamp(folder: Path) -> Stamp:
    """Return name, size and modification time of each file; raises AdapterError on a missing one."""
    stamp = []
    for name in (CHECKSUMS_FILE, CONFIG_FILE, WEIGHTS_FILE):
        try:
            status = (folder / name).stat()
        except OSError as error:
            missing = name if folder.is_dir() else "the folder"
            raise _damaged(folder, f"{missing} is missing") from error
        stamp.append((name, status.st_size, status.st_mtime_ns))
    return tuple(stamp)


def _verify(folder: Path, digest: str) -> None:
    checksums = (folder / CHECKSUMS_FILE).read_bytes()
    if hashlib.sha256(checksums).hexdigest() != digest:
        raise _damaged(folder, f"{CHECKSUMS_FILE} was altered")
    for line in checksums.decode("ascii").splitlines():
        expected, name = line.split("  ", 1)
        if _digest(folder / name) != expected:
            raise _damaged(folder, f"{name} was truncated or altered")


def _damaged(folder: Path, what: str) -> AdapterError:
    return AdapterError(
        f"the adapter {folder.name[:12]} cannot be used, {what} in {folder.parent}: "
        "restore it from a backup, or roll back to another version"
    )
