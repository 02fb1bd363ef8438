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
SLACK = 6
"""A pool of database connections, three files each, fills and empties by itself."""


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


def grew(what: str, footprints: list[Seen], allowance: float = 0.15) -> list[str]:
    """Return what the last third of some footprints holds more of than the second, after the third that warms up."""
    third = len(footprints) // 3
    if third < 2:
        return []
    found = []
    for name in footprints[0]:
        before, after = (
            median(one[name] for one in part) for part in (footprints[third : 2 * third], footprints[-third:])
        )
        if after > before * (1 + allowance) + SLACK:
            found.append(f"{what}: {name} grew from {before:g} to {after:g}")
    return found
