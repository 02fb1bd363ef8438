"""Work in a process of its own, so that its memory is its own, and what a process holds."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any, TypeVar

import psutil

T = TypeVar("T")
Row = dict[str, Any]

MEMORY_POLL_S = 0.25
LEAVE_S = 20.0


def rows_apart(hold: Callable[[T, Connection], None], plan: T) -> Iterator[Row]:
    """Yield each row that `hold(plan, rows)` sends, with the most memory and the disturbance since the row before.

    Raises RuntimeError where it dies.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=hold, args=(plan, theirs), name="measured")
    process.start()
    theirs.close()  # or the end of the process would not end the reading
    assert process.pid is not None
    try:
        yield from _received(ours, process.pid)
        process.join(LEAVE_S)
        if process.exitcode:
            raise RuntimeError(f"what was measured ended early, with code {process.exitcode}: {plan}")
    finally:
        process.kill()
        process.join()


def _received(rows: Connection, pid: int) -> Iterator[Row]:
    peak_mib, before = 0.0, _Clock.read(pid)
    while True:
        peak_mib = max(peak_mib, memory_mib(pid))
        if not rows.poll(MEMORY_POLL_S):
            continue
        try:
            row: Row = rows.recv()
        except EOFError:
            return
        now = _Clock.read(pid)
        yield row | {"peak_memory_mib": round(peak_mib), "others_cores": round(now.others_since(before), 2)}
        peak_mib, before = 0.0, now


@dataclass(frozen=True)
class _Clock:
    """Seconds: of the wall, of all cores while they rest, and of them while they work for a process's family."""

    wall_s: float
    idle_s: float
    family_s: float

    @classmethod
    def read(cls, pid: int) -> _Clock:
        machine = psutil.cpu_times()
        worked_s = sum(_worked_s(process) for process in family(pid))
        return cls(time.perf_counter(), machine.idle + getattr(machine, "iowait", 0.0), worked_s)

    def others_since(self, before: _Clock) -> float:
        """Return how many cores worked for others: engines whose threads wait for each other collapse beside them."""
        wall_s = self.wall_s - before.wall_s
        worked_s = (psutil.cpu_count() or 1) * wall_s - (self.idle_s - before.idle_s)
        return max(0.0, (worked_s - (self.family_s - before.family_s)) / wall_s)


def _worked_s(process: psutil.Process) -> float:
    """Return the seconds of a process and of the children that it has outlived."""
    try:
        times = process.cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return float(times.user + times.system + times.children_user + times.children_system)


def memory_mib(pid: int) -> float:
    """Return what a process and all its descendants hold in memory, pages that they share counted once.

    That is Linux's proportional set size; elsewhere shared pages count for each.
    """
    return sum(map(_held_bytes, family(pid))) / 2**20


def family(pid: int) -> list[psutil.Process]:
    """Return the process and all its descendants."""
    try:
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _held_bytes(process: psutil.Process) -> int:
    try:
        held = process.memory_full_info()
    except (psutil.NoSuchProcess, psutil.AccessDenied):  # gone meanwhile, or about to be
        return 0
    return int(getattr(held, "pss", held.rss))
