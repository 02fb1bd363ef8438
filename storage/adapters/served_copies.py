"""Copies of adapters in the folder that remote servers read: one for each version and strength, complete or absent."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import time
from collections.abc import Collection
from pathlib import Path
from typing import Any

from storage.adapters.files import CONFIG_FILE, WEIGHTS_FILE
from storage.adapters.folder_store import AS_TRAINED, AdapterRef
from storage.errors import AdapterError

FOLDER = "served"
PREFIX = "reactune-"
"""Of the names under which servers know our versions; others are none of our business."""
NAME_DIGITS = 16
SCALES = ("lora_alpha", "alpha_pattern")
KEPT_S = 24 * 3600.0
"""A copy that no server has loaded stays this long, for a process that is about to have it loaded."""


def served_name(adapter: AdapterRef) -> str:
    """Return the name of a version at a strength, which says exactly what it is."""
    strength = "" if adapter.strength == AS_TRAINED else f"-x{adapter.strength:g}"
    return f"{PREFIX}{adapter.digest[:NAME_DIGITS]}{strength}"


def open_served_copies(data_directory: Path) -> ServedAdapterCopies:
    return ServedAdapterCopies(data_directory / FOLDER)


class ServedAdapterCopies:
    """A folder of PEFT folders. Several processes may use it: a copy is put there whole, and never changed."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def put(self, adapter: AdapterRef) -> Path:
        """Return the folder of the version's copy, made where it is missing; its strength is in its scale.

        vLLM knows no strength. Raises AdapterError where the disk refuses.
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
        """Remove all copies of a version, as when it is withdrawn, and return how many there were."""
        copies = list(self._directory.glob(f"{PREFIX}{digest[:NAME_DIGITS]}*"))
        for copy in copies:
            shutil.rmtree(copy, ignore_errors=True)
        return len(copies)

    def sweep(self, loaded: Collection[str]) -> int:
        """Remove the copies that no server has `loaded`, except those of the last day, and return how many."""
        old = [copy for copy in self._directory.glob(f"*{PREFIX}*") if _age_s(copy) > KEPT_S]
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
            _link(adapter.path / WEIGHTS_FILE, staging / WEIGHTS_FILE)
            _move(staging, final)
        finally:
            shutil.rmtree(staging, ignore_errors=True)


def _scaled(config: dict[str, Any], strength: float) -> dict[str, Any]:
    def times(value: Any) -> Any:
        return {name: one * strength for name, one in value.items()} if isinstance(value, dict) else value * strength

    return config | {key: times(config[key]) for key in SCALES if config.get(key)}


def _link(source: Path, target: Path) -> None:
    """Give the file a second name where the disk can, for it is never changed; else copy it."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _move(staging: Path, final: Path) -> None:
    try:
        staging.rename(final)
    except OSError:
        if not final.exists():  # else another process was quicker
            raise


def _age_s(folder: Path) -> float:
    try:
        return time.time() - folder.stat().st_mtime
    except FileNotFoundError:
        return 0.0
