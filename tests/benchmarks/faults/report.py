"""Rows of the table of faults: what was tried, how often, what was lost, and what was seen."""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

from rich.console import Console

notes = Console(stderr=True)
log = logging.getLogger(__name__)
Seen = dict[str, Any]


@dataclass
class Row:
    fault: str
    times: int = 0
    lost: list[str] = field(default_factory=list)
    """In words; empty when nothing was."""
    seen: Seen = field(default_factory=dict)
    skipped: str = ""
    """Why it was not tried."""

    def as_row(self) -> dict[str, Any]:
        return asdict(self)


def spread(seconds: list[float]) -> Seen:
    """Return the median and the largest of some durations, in seconds."""
    if not seconds:
        return {}
    return {"median_s": round(median(seconds), 2), "largest_s": round(max(seconds), 2)}


def grew(what: str, footprints: list[Seen], allowance: float) -> list[str]:
    """Return what the last third of some footprints holds more of than the first, by more than a share."""
    third = len(footprints) // 3
    if not third:
        return []
    found = []
    for name in footprints[0]:
        first, last = (median(one[name] for one in part) for part in (footprints[:third], footprints[-third:]))
        if last > first * (1 + allowance) + 2:
            found.append(f"{what}: {name} grew from {first:g} to {last:g}")
    return found
