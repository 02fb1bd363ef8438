"""OpenVINO graphs on disk: one folder for each version and strength, named after both, built when first needed.

Imports OpenVINO only to build one: the bot's own process uses this module.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
from collections.abc import Collection
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from filelock import FileLock, Timeout

from storage.adapters.folder_store import CHECKSUMS_FILE, AdapterRef
from storage.errors import StorageError
from storage.files import sha256_of, sync_to_disk
from storage.models.base_model import BaseModel
from storage.wording import BASE_NAME, format_bytes

log = logging.getLogger(__name__)

GRAPHS = "engine"
"""Folder of all graphs, in the data folder."""
MODEL_FILE = "openvino_model.xml"
STAGING_SUFFIX = ".staging"
SHOWN_DIGITS = 16
"""Number of digits of an adapter's digest in the name of its graph."""
LAYOUT = "4"
"""Version of rounding and building; graphs of another layout are rebuilt and compared again."""


class GraphNotWritten(StorageError):
    def __init__(self, folder: Path, cause: Exception) -> None:
        free = shutil.disk_usage(folder).free
        super().__init__(f"its graph cannot be written to {folder} ({format_bytes(free)} free): {cause}")


def graph_folder(base: BaseModel, data_directory: Path) -> Path:
    """Return the folder for the graphs of this base, layout and OpenVINO release."""
    return data_directory / GRAPHS / f"{base.revision}-{LAYOUT}-{version('openvino-genai')}"


def verdict_file(folder: Path, dtype: str) -> Path:
    """Return the file with the verdict on a folder's graphs for activations in this format."""
    return folder / f"verified-{dtype}.json"


def graph_name(adapter: AdapterRef | None) -> str:
    """Return the name of a version's graph at a strength, unique within its base."""
    return f"{adapter.digest[:SHOWN_DIGITS]}_{adapter.strength:g}" if adapter else BASE_NAME


def remove_graphs_of(digests: Collection[str], data_directory: Path) -> None:
    """Remove the graphs of these adapters at any strength; processes that have one open can still read it."""
    for digest in digests:
        for graph in (data_directory / GRAPHS).glob(f"*/{digest[:SHOWN_DIGITS]}_*/"):
            with FileLock(_lock_of(graph)):
                shutil.rmtree(graph, ignore_errors=True)


@dataclass(frozen=True)
class GraphCache:
    """A folder of graphs, each complete or absent; several processes may use it."""

    base: BaseModel
    folder: Path
    weight_bits: int

    def prepare(self, adapter: AdapterRef | None) -> Path:
        """Return the folder of the version's graph, building it first if it is missing or altered.

        Raises GraphNotWritten and the errors of `build_graph`.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        target = self.folder / graph_name(adapter)
        with self._lock(target.name):
            if not _is_sound(target, self.weight_bits):
                self._build(adapter, target)
            os.utime(target)
        return target

    def prune(self, keep: int) -> None:
        """Remove all graphs except the `keep` most recently loaded ones, and unfinished ones."""
        loaded = {folder: _loaded_at(folder) for folder in self.folder.glob("[!.]*/")}
        for folder in sorted(loaded, key=loaded.__getitem__)[:-keep]:
            self._remove_idle(folder, folder.name)
        for staging in self.folder.glob(f".*{STAGING_SUFFIX}/"):
            self._remove_idle(staging, staging.name[1:].removesuffix(STAGING_SUFFIX))

    def _remove_idle(self, folder: Path, name: str) -> None:
        with contextlib.suppress(Timeout), self._lock(name, timeout=0):  # another process is using it
            shutil.rmtree(folder, ignore_errors=True)

    def _lock(self, name: str, timeout: float = -1) -> FileLock:
        return FileLock(_lock_of(self.folder / name), timeout=timeout)

    def _build(self, adapter: AdapterRef | None, target: Path) -> None:
        import openvino as ov

        from storage.models.openvino.graph import build_graph

        log.info(
            "Building the OpenVINO graph of %s on %s, once: seconds for a small model.", target.name, self.base.name
        )
        model = build_graph(self.base.path, adapter, self.weight_bits)
        staging = self.folder / f".{target.name}{STAGING_SUFFIX}"
        shutil.rmtree(staging, ignore_errors=True)
        try:
            staging.mkdir()
            ov.save_model(model, staging / MODEL_FILE, compress_to_fp16=False)
            (staging / CHECKSUMS_FILE).write_text(_checksums(staging, target.name, self.weight_bits), encoding="ascii")
            sync_to_disk(staging)
            shutil.rmtree(target, ignore_errors=True)
            staging.rename(target)
        except (OSError, RuntimeError) as error:  # OpenVINO raises RuntimeError
            shutil.rmtree(staging, ignore_errors=True)
            raise GraphNotWritten(self.folder, error) from error


def _lock_of(graph: Path) -> Path:
    """Return the file that is locked while a graph is built or removed."""
    return graph.with_name(f".{graph.name}.lock")


def _checksums(folder: Path, version: str, weight_bits: int) -> str:
    """Return lines in the format of `sha256sum`; their first comment keeps one graph from passing for another."""
    files = [folder / MODEL_FILE, (folder / MODEL_FILE).with_suffix(".bin")]
    sums = "".join(f"{sha256_of(file)}  {file.name}\n" for file in files)
    return f"# {version}, {weight_bits} bits\n{sums}"


def _is_sound(folder: Path, weight_bits: int) -> bool:
    """Return whether the graph exists unaltered: altered weights would go unnoticed until the answers are wrong."""
    try:
        return (folder / CHECKSUMS_FILE).read_text(encoding="ascii") == _checksums(folder, folder.name, weight_bits)
    except (OSError, ValueError):
        return False


def _loaded_at(folder: Path) -> float:
    try:
        return folder.stat().st_mtime
    except FileNotFoundError:  # another process has just removed it
        return 0.0
