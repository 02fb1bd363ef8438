"""Versions that an engine refused to answer with: they are not asked again for a while, and admins are alerted."""

from __future__ import annotations

import time
from collections.abc import Hashable
from dataclasses import dataclass

WAIT_S = 300.0
"""Pause before a refused version is tried again: loading it may take a minute, and fixing a server takes longer."""
REMEMBERED_S = 3600.0
"""A refused version stops being a problem if nobody has requested it for this long."""


@dataclass(frozen=True)
class Refusal:
    reason: str
    may_pass: bool = False
    """A passing fault of a server may be the cause: no later attempt has been refused as well."""


@dataclass(frozen=True)
class _Noted:
    """The first and the last refusal since the version last answered; times are from time.perf_counter()."""

    first_s: float
    last_s: float
    refusal: Refusal


class RefusedVersions:
    def __init__(self) -> None:
        self._noted: dict[Hashable, _Noted] = {}

    def note(self, version: Hashable, reason: str, *, may_pass: bool = False) -> None:
        now_s = time.perf_counter()
        before = self._noted.get(version)
        first_s = before.first_s if before else now_s
        self._noted[version] = _Noted(first_s, now_s, Refusal(reason, may_pass and now_s - first_s < WAIT_S))

    def clear(self, version: Hashable) -> None:
        """Forget the version's refusals, because it can answer."""
        self._noted.pop(version, None)

    def recent(self, version: Hashable) -> Refusal | None:
        """Return the version's refusal in the last minutes, if there was one; any thread may call this."""
        noted = self._noted.get(version)
        return noted.refusal if noted and time.perf_counter() - noted.last_s < WAIT_S else None

    def describe(self) -> str:
        """Return the reasons, or ""; any thread may call this."""
        since = time.perf_counter() - REMEMBERED_S
        return "; ".join(noted.refusal.reason for noted in list(self._noted.values()) if noted.last_s >= since)
