"""Copies of adapters for remote servers: one for each version and strength, complete or absent."""

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
"""Prefix of our versions' names on servers; adapters with other names are not ours."""
NAME_DIGITS = 16
SCALES = ("lora_alpha", "alpha_pattern")
KEPT_S = 24 * 3600.0
"""Time to keep a copy that no server has loaded: a process may be about to load it."""


def served_name(adapter: AdapterRef) -> str:
    """Return the name of a version at a strength, unique among all versions."""
    strength = "" if adapter.strength == AS_TRAINED else f"-x{adapter.strength:g}"
    return f"{PREFIX}{adapter.digest[:NAME_DIGITS]}{strength}"


def open_served_copies(data_directory: Path) -> ServedAdapterCopies:
    return ServedAdapterCopies(data_directory / FOLDER)


class ServedAdapterCopies:
    """A folder of PEFT folders. Several processes may use it: copies appear complete and are never changed."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def put(self, adapter: AdapterRef) -> Path:
        """Return the folder of the version's copy, which is made if it is missing; raises AdapterError on disk errors.

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
        copies = list(self._directory.glob(f"{PREFIX}{digest[:NAME_DIGITS]}*"))
        for copy in copies:
            shutil.rmtree(copy, ignore_errors=True)
        return len(copies)

    def sweep(self, loaded: Collection[str]) -> int:
        """Remove copies older than a day that no server has `loaded`, and return how many."""
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
    """Hard-link the file, which is never changed; copy it if the file system does not support that."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


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
