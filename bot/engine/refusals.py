"""Versions that an engine refused to answer with: they are not asked again for a while, and admins are alerted."""

from __future__ import annotations

import math
import time
from collections.abc import Hashable

WAIT_S = 300.0
"""How long a refused version is not tried again: loading it may take a minute, and mending a server takes longer."""
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

    def recent(self, version: Hashable) -> str:
        """Return why the version was refused in the last minutes, or ""; any thread may call this."""
        when, reason = self._reasons.get(version, (-math.inf, ""))
        return reason if time.perf_counter() - when < WAIT_S else ""

    def describe(self) -> str:
        """Return the reasons, or ""; any thread may call this."""
        since = time.perf_counter() - REMEMBERED_S
        return "; ".join(reason for when, reason in list(self._reasons.values()) if when >= since)
