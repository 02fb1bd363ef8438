"""Other work on the machine: how much there was, which ratios it spoils, and a busy neighbour made to order."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import psutil

from tests.benchmarks.report import Row, notes

MOST_OTHERS_CORES = 0.25
"""Cores that other work may take on average while a row is measured; with more, its ratios are left out.

A machine with nothing else running takes 0.06 to 0.12. One busy neighbour takes 1, and made a ratio of 8 one of 752.
"""
NEIGHBOUR = """
import os, sys, threading
threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
while True:
    pass
"""
"""It ends with the process that started it, which holds its input."""


@dataclass(frozen=True)
class Clock:
    """Seconds: of the wall, of all cores while they rest, and of them while they work for some processes' families."""

    wall_s: float
    idle_s: float
    family_s: float

    @classmethod
    def read(cls, *pids: int) -> Clock:
        machine = psutil.cpu_times()
        worked_s = sum(map(_worked_s, {process for pid in pids for process in family(pid)}))
        return cls(time.perf_counter(), machine.idle + getattr(machine, "iowait", 0.0), worked_s)

    def others_since(self, before: Clock) -> float:
        """Return how many cores worked for others: engines whose threads wait for each other collapse beside them."""
        wall_s = self.wall_s - before.wall_s
        worked_s = (psutil.cpu_count() or 1) * wall_s - (self.idle_s - before.idle_s)
        return round(max(0.0, (worked_s - (self.family_s - before.family_s)) / wall_s), 2)


def family(pid: int) -> list[psutil.Process]:
    """Return the process and all its descendants."""
    try:
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _worked_s(process: psutil.Process) -> float:
    """Return the seconds of a process and of the children that it has outlived."""
    try:
        times = process.cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return float(times.user + times.system + times.children_user + times.children_system)


@dataclass(frozen=True)
class Ratio:
    value: float | None
    """None where it was not measured."""
    rows: Sequence[Row]
    """What it was taken from, each with its `others_cores`."""

    @property
    def others_cores(self) -> float:
        """Of the row that was disturbed most."""
        return max((row["others_cores"] for row in self.rows if row), default=0.0)

    @property
    def is_disturbed(self) -> bool:
        return self.others_cores > MOST_OTHERS_CORES

    @property
    def shown(self) -> float | None:
        return None if self.is_disturbed else self.value


def ratio_of(over: tuple[Row, str], under: tuple[Row, str]) -> Ratio:
    """Return the ratio of two numbers, each given by its row, which may be empty, and its name there."""
    (above, name), (below, other) = over, under
    value, divisor = above.get(name), below.get(other)
    return Ratio(round(value / divisor, 3) if value is not None and divisor else None, (above, below))


def compare(ratios: Mapping[str, Ratio]) -> tuple[dict[str, float | None], list[str]]:
    """Return the ratios that other work did not disturb, and a note, printed too, on each of the others."""
    told = [
        f"{name} is left out: other work took {ratio.others_cores:.2f} cores while it was measured, more than "
        f"{MOST_OTHERS_CORES}; measure again on a quiet machine"
        for name, ratio in ratios.items()
        if ratio.is_disturbed
    ]
    for note in told:
        notes.print(note, markup=False, highlight=False)
    return {name: ratio.value for name, ratio in ratios.items() if not ratio.is_disturbed}, told


@contextmanager
def busy_neighbour() -> Iterator[None]:
    """Let a child process keep one core busy."""
    with subprocess.Popen([sys.executable, "-c", NEIGHBOUR], stdin=subprocess.PIPE) as process:
        try:
            yield
        finally:
            process.kill()
