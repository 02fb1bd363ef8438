"""The report of every benchmark: machine, versions, what was measured, and a summary."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console

from storage.models.hardware import usable_cores

Row = dict[str, Any]

LONGEST_CELL = 40

notes = Console(stderr=True)
"""For what is said on the way: standard output is the report's."""


def report(
    rows: Sequence[Row], summary: Mapping[str, Any], *packages: str, notes: Sequence[str] | None = None, **about: Any
) -> Row:
    """Return a report with the versions of the packages; `notes` say what was left out, `about` what was asked for."""
    found = {"machine": machine(), "versions": versions(*packages), **about, "rows": rows, "summary": summary}
    return found if notes is None else found | {"notes": list(notes)}


def tables(found: Row) -> str:
    """Return the report in Markdown: a table for all rows with the same columns, then the summary.

    Lists and long texts are left out of the tables.
    """
    by_columns: dict[tuple[str, ...], list[Row]] = {}
    for row in found.get("rows", ()):
        by_columns.setdefault(tuple(key for key, value in row.items() if _fits(value)), []).append(row)
    parts = [
        "\n".join(table(columns, [[_shown(row[column]) for column in columns] for row in rows]))
        for columns, rows in by_columns.items()
    ]
    parts.append("\n".join(f"- {key}: {_shown(value)}" for key, value in found.get("summary", {}).items()))
    return "\n\n".join(parts)


def table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield the lines of a table in Markdown."""
    for cells in (titles, ["---"] * len(titles), *rows):
        yield f"| {' | '.join(cells)} |"


def _fits(value: object) -> bool:
    return isinstance(value, (int, float, type(None))) or (isinstance(value, str) and len(value) <= LONGEST_CELL)


def _shown(value: object) -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 1_000 else f"{value:,.0f}"
    return str(value)


def machine() -> dict[str, str | int | float]:
    """Describe the processor, the cores this process may use, and the memory in GiB."""
    return {
        "system": platform.platform(),
        "processor": _processor(),
        "cores": usable_cores(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
    }


def versions(*packages: str) -> dict[str, str]:
    """Return the versions of Python and of those packages that are installed."""
    found = {"python": platform.python_version()}
    for package in packages:
        with suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
