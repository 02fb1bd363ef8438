"""Files that survive a power cut."""

from __future__ import annotations

import os
from pathlib import Path


def sync_to_disk(folder: Path) -> None:
    """Flush a folder's files and names, so that a later rename never outlives their content in a power cut."""
    for path in folder.iterdir():
        sync_file(path)
    sync_names(folder)


def sync_names(folder: Path) -> None:
    """Flush the names in a folder alone, so that a rename in it survives a power cut."""
    sync_file(folder)


def sync_file(path: Path) -> None:
    """Flush one file, or the names in a folder."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
