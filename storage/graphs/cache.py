"""Prepared graphs on disk: one folder for each version and strength, made when first needed."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import openvino as ov
from filelock import FileLock

from storage.adapters import AdapterRef
from storage.base_model import BaseModel
from storage.conversion import sync_to_disk
from storage.graphs.graph import MODEL_FILE, build_graph

BASE_NAME = "base"


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
        if not target.exists():
            with FileLock(self.folder / f".{target.name}.lock"):
                if not target.exists():
                    self._make(adapter, target)
        os.utime(target)
        return target

    def discard(self, adapter: AdapterRef | None) -> None:
        """Forget a graph that cannot be read."""
        shutil.rmtree(self.folder / version_name(adapter), ignore_errors=True)

    def prune(self, keep: int) -> None:
        """Remove all graphs but the `keep` last used ones."""
        graphs = sorted(self.folder.glob(f"*/{MODEL_FILE}"), key=lambda file: file.parent.stat().st_mtime)
        for file in graphs[:-keep]:
            shutil.rmtree(file.parent, ignore_errors=True)

    def _make(self, adapter: AdapterRef | None, target: Path) -> None:
        staging = self.folder / f".{target.name}.staging"
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir()
        ov.save_model(build_graph(self.base.path, adapter), staging / MODEL_FILE, compress_to_fp16=False)
        sync_to_disk(staging)
        staging.rename(target)
