"""Writes files so that they survive a power cut."""

from __future__ import annotations

import os
from pathlib import Path


def sync_to_disk(folder: Path) -> None:
    """Flush a folder's files and names, so that after a power cut a later rename never exists without their content."""
    for path in folder.iterdir():
        sync_file(path)
    sync_names(folder)


def sync_names(folder: Path) -> None:
    """Flush only the names in a folder, so that a rename in it survives a power cut."""
    sync_file(folder)


def sync_file(path: Path) -> None:
    """Flush one file, or a folder's names."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
