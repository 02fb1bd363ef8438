"""Rows of the table of faults: what was tried, how often, what was lost, and what was seen."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

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
    recoveries: list[float] = field(default_factory=list)
    """Seconds from the end of each fault until nothing is missing."""

    def count(self, what: str, number: int = 1) -> None:
        self.seen[what] = self.seen.get(what, 0) + number

    def told(self) -> Seen:
        return asdict(self) | {"recoveries": spread(self.recoveries)}


def spread(seconds: list[float]) -> Seen:
    """Return the median and the largest of some durations, in seconds."""
    return {"median_s": round(median(seconds), 2), "largest_s": round(max(seconds), 2)} if seconds else {}


def grew(what: str, footprints: list[Seen]) -> list[str]:
    """Return what the last third of some footprints holds more of than the second; in the first the bot warms up."""
    before, after = _medians(footprints, 1), _medians(footprints, 2)
    return [
        f"{what}: {name} grew from {before[name]:g} to {after[name]:g}"
        for name in before
        if after[name] > before[name] * 1.15 + SLACK
    ]


def _medians(footprints: list[Seen], third: int) -> Seen:
    """Return the medians of the second or last third, 1 or 2; nothing where there are too few."""
    size = len(footprints) // 3
    if size < 2:
        return {}
    part = footprints[-size:] if third == 2 else footprints[third * size : (third + 1) * size]
    return {name: median(one[name] for one in part) for name in footprints[0]}
