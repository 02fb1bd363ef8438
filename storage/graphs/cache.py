"""Prepared graphs on disk: one folder for each version and strength, made when first needed."""

from __future__ import annotations

import contextlib
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import openvino as ov
from filelock import FileLock, Timeout

from storage.adapters import AdapterRef
from storage.base_model import BaseModel
from storage.conversion import sync_to_disk
from storage.graphs.graph import MODEL_FILE, build_graph

BASE_NAME = "base"
STAGING_SUFFIX = ".staging"


def version_name(adapter: AdapterRef | None) -> str:
    """Return what tells a version at a strength from all others of its base."""
    return f"{adapter.digest[:16]}_{adapter.strength:g}" if adapter else BASE_NAME


@dataclass(frozen=True)
class GraphCache:
    """Several processes may use one folder; graphs in it are complete or absent."""

    base: BaseModel
    folder: Path

    def prepare(self, adapter: AdapterRef | None) -> Path:
        """Return the folder of the version's graph, after making it where it is missing."""
        self.folder.mkdir(parents=True, exist_ok=True)
        target = self.folder / version_name(adapter)
        with self._lock(target.name):
            if not target.exists():
                self._make(adapter, target)
            os.utime(target)
        return target

    def discard(self, adapter: AdapterRef | None) -> None:
        """Forget a graph that cannot be read."""
        shutil.rmtree(self.folder / version_name(adapter), ignore_errors=True)

    def prune(self, keep: int) -> None:
        """Remove all graphs but the `keep` last loaded ones, and what was left half made."""
        loaded = {folder: _loaded_at(folder) for folder in self.folder.glob("[!.]*/")}
        for folder in sorted(loaded, key=loaded.__getitem__)[:-keep]:
            self._remove(folder, folder.name)
        for staging in self.folder.glob(f".*{STAGING_SUFFIX}/"):
            self._remove(staging, staging.name[1:].removesuffix(STAGING_SUFFIX))

    def _remove(self, folder: Path, name: str) -> None:
        with contextlib.suppress(Timeout), self._lock(name, timeout=0):  # another process needs it just now
            shutil.rmtree(folder, ignore_errors=True)

    def _lock(self, name: str, timeout: float = -1) -> FileLock:
        return FileLock(self.folder / f".{name}.lock", timeout=timeout)

    def _make(self, adapter: AdapterRef | None, target: Path) -> None:
        staging = self.folder / f".{target.name}{STAGING_SUFFIX}"
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir()
        ov.save_model(build_graph(self.base.path, adapter), staging / MODEL_FILE, compress_to_fp16=False)
        sync_to_disk(staging)
        staging.rename(target)


def _loaded_at(folder: Path) -> float:
    try:
        return folder.stat().st_mtime
    except FileNotFoundError:  # another process has removed it just now
        return 0.0
