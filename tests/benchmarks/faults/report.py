"""Rows of the table of faults: what was tried, how often, what was lost, and what was seen."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from statistics import median
from typing import Any

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


def spread(seconds: list[float]) -> Seen:
    """Return the median and the largest of some durations, in seconds."""
    if not seconds:
        return {}
    return {"median_s": round(median(seconds), 2), "largest_s": round(max(seconds), 2)}


def grew(what: str, footprints: list[Seen], allowance: float = 0.15) -> list[str]:
    """Return what the last third of some footprints holds more of than the second, after the third that warms up."""
    return _more(what, medians(footprints, 1), medians(footprints, 2), allowance)


def grew_from_the_first(what: str, footprints: list[Seen], allowance: float = 0.15) -> list[str]:
    """Return what the last third holds more of than the first, where all have warmed up."""
    return _more(what, medians(footprints, 0), medians(footprints, 2), allowance)


def _more(what: str, before: Seen, after: Seen, allowance: float) -> list[str]:
    return [
        f"{what}: {name} grew from {before[name]:g} to {after[name]:g}"
        for name in before
        if after[name] > before[name] * (1 + allowance) + SLACK
    ]


def medians(footprints: list[Seen], third: int) -> Seen:
    """Return the medians of the first, second or last third, 0 to 2; nothing where there are too few."""
    size = len(footprints) // 3
    if size < 2:
        return {}
    part = footprints[-size:] if third == 2 else footprints[third * size : (third + 1) * size]
    return {name: median(one[name] for one in part) for name in footprints[0]}
