"""Versions that an engine refused to answer with, for an alert to admins."""

from __future__ import annotations

import time
from collections.abc import Hashable

REMEMBERED_S = 3600.0
"""A version that nobody has asked for since then is no problem any more."""


class RefusedVersions:
    def __init__(self) -> None:
        self._reasons: dict[Hashable, tuple[float, str]] = {}
        """{version: (when it was last refused, from time.perf_counter(); why)}"""

    def note(self, version: Hashable, reason: str) -> None:
        self._reasons[version] = time.perf_counter(), reason

    def clear(self, version: Hashable) -> None:
        """Note that the version can answer."""
        self._reasons.pop(version, None)

    def describe(self) -> str:
        """Return the reasons, or ""; any thread may call this."""
        since = time.perf_counter() - REMEMBERED_S
        return "; ".join(reason for when, reason in list(self._reasons.values()) if when >= since)
