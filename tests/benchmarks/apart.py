"""Runs work in a separate process to measure its memory, and measures what a process holds."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from typing import TypeVar

import psutil

from tests.benchmarks.disturbance import Clock, Row, family

T = TypeVar("T")

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
    peak_mib, before = 0.0, Clock.read(pid)
    while True:
        peak_mib = max(peak_mib, memory_mib(pid))
        if not rows.poll(MEMORY_POLL_S):
            continue
        try:
            row: Row = rows.recv()
        except EOFError:
            return
        now = Clock.read(pid)
        yield row | {"peak_memory_mib": round(peak_mib), "others_cores": now.others_since(before)}
        peak_mib, before = 0.0, now


def memory_mib(pid: int) -> float:
    """Return what a process and all its descendants hold in memory, pages that they share counted once.

    That is Linux's proportional set size; elsewhere shared pages count for each.
    """
    return sum(map(_held_bytes, family(pid))) / 2**20


def _held_bytes(process: psutil.Process) -> int:
    try:
        held = process.memory_full_info()
    except (psutil.NoSuchProcess, psutil.AccessDenied):  # ended in the meantime
        return 0
    return int(getattr(held, "pss", held.rss))
