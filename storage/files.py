"""Files: digests, links, and writes that survive a power cut."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file, 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_json_object(path: Path) -> dict[str, Any]:
    """Return the JSON object in a file; raises OSError, and ValueError if it holds something else."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    if not isinstance(content, dict):
        raise ValueError("it is not a JSON object")
    return content


def link_or_copy(source: Path, target: Path) -> None:
    """Hard-link a file that never changes; copy it if the file system does not support that."""
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def sync_to_disk(folder: Path) -> None:
    """Flush a folder's files and names, so that after a power cut a later rename never exists without their content."""
    for path in folder.iterdir():
        sync_file(path)
    sync_file(folder)


def sync_file(path: Path) -> None:
    """Flush one file, or a folder's names."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
