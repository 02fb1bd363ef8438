"""Prepared graphs on disk: one folder for each version and strength, made when first needed."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import openvino as ov
from filelock import FileLock, Timeout

from storage.adapters.folder_store import AdapterRef
from storage.errors import StorageError
from storage.files import sync_to_disk
from storage.models.base_model import BaseModel
from storage.models.openvino.graph import MODEL_FILE, build_graph
from storage.models.openvino.options import SHOWN_DIGITS, lock_of

BASE_NAME = "base"
STAGING_SUFFIX = ".staging"
CHECKSUMS_FILE = "SHA256SUMS"


class GraphNotWritten(StorageError):
    def __init__(self, folder: Path, cause: Exception) -> None:
        free = shutil.disk_usage(folder).free
        super().__init__(f"its graph cannot be written to {folder} ({free / 1e6:,.0f} MB free): {cause}")


def version_name(adapter: AdapterRef | None) -> str:
    """Return what tells a version at a strength from all others of its base."""
    return f"{adapter.digest[:SHOWN_DIGITS]}_{adapter.strength:g}" if adapter else BASE_NAME


@dataclass(frozen=True)
class GraphCache:
    """Several processes may use one folder; graphs in it are complete or absent."""

    base: BaseModel
    folder: Path

    def prepare(self, adapter: AdapterRef | None) -> Path:
        """Return the folder of the version's graph, after making it where it is missing or was altered.

        Raises what `build_graph` raises, and GraphNotWritten.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        target = self.folder / version_name(adapter)
        with self._lock(target.name):
            if not _is_sound(target):
                self._make(adapter, target)
            os.utime(target)
        return target

    def prune(self, keep: int) -> None:
        """Remove all graphs but the `keep` last loaded ones, and what was left half made."""
        loaded = {folder: _loaded_at(folder) for folder in self.folder.glob("[!.]*/")}
        for folder in sorted(loaded, key=loaded.__getitem__)[:-keep]:
            self._remove_idle(folder, folder.name)
        for staging in self.folder.glob(f".*{STAGING_SUFFIX}/"):
            self._remove_idle(staging, staging.name[1:].removesuffix(STAGING_SUFFIX))

    def _remove_idle(self, folder: Path, name: str) -> None:
        with contextlib.suppress(Timeout), self._lock(name, timeout=0):  # another process needs it just now
            shutil.rmtree(folder, ignore_errors=True)

    def _lock(self, name: str, timeout: float = -1) -> FileLock:
        return FileLock(lock_of(self.folder / name), timeout=timeout)

    def _make(self, adapter: AdapterRef | None, target: Path) -> None:
        model = build_graph(self.base.path, adapter)
        staging = self.folder / f".{target.name}{STAGING_SUFFIX}"
        _remove(staging)
        try:
            staging.mkdir()
            ov.save_model(model, staging / MODEL_FILE, compress_to_fp16=False)
            (staging / CHECKSUMS_FILE).write_text(_checksums(staging), encoding="ascii")
            sync_to_disk(staging)
            _remove(target)
            staging.rename(target)
        except (OSError, RuntimeError) as error:  # the latter is OpenVINO's
            _remove(staging)
            raise GraphNotWritten(self.folder, error) from error


def _checksums(folder: Path) -> str:
    """Return lines as `sha256sum` writes them."""
    files = [folder / MODEL_FILE, (folder / MODEL_FILE).with_suffix(".bin")]
    return "".join(f"{_digest(file)}  {file.name}\n" for file in files)


def _digest(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _is_sound(folder: Path) -> bool:
    """Return whether a graph is there as it was made: altered weights would only show in what is said."""
    try:
        return (folder / CHECKSUMS_FILE).read_text(encoding="ascii") == _checksums(folder)
    except (OSError, ValueError):
        return False


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _loaded_at(folder: Path) -> float:
    try:
        return folder.stat().st_mtime
    except FileNotFoundError:  # another process has removed it just now
        return 0.0
