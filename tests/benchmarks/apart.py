"""Runs work in a separate process to measure its memory, and measures what a process holds."""

from __future__ import annotations

import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Generator, Iterator
from multiprocessing.connection import Connection
from typing import TypeVar

import psutil

from storage.models.hardware import has_gpu
from tests.benchmarks.disturbance import Clock, family
from tests.benchmarks.report import Row

T = TypeVar("T")
TellRow = Callable[[Row], None]

MEMORY_POLL_S = 0.25
LEAVE_S = 20.0
REST = 50
"""Times as long as reading the memory takes, nothing is read: with a base of 1.5 billion parameters, four times a
second took 0.15 cores, and this takes 0.04."""
KILLED = -9
"""Exit code of a process that was killed, as the operating system does when memory runs out."""


class EndedEarly(RuntimeError):
    """What was measured died before its last row."""

    def __init__(self, code: int, peak_mib: float) -> None:
        """`code` is the process's exit code, `peak_mib` the most memory that it held since its last row."""
        needed = f"killed: more than {peak_mib / 1024:.1f} GiB"
        super().__init__(needed if code == KILLED else f"ended early, with code {code}")


def rows_apart(work: Callable[[T, TellRow], None], plan: T) -> Iterator[Row]:
    """Yield each row that `work(plan, tell)` tells, with the most memory and the disturbance since the row before.

    Raises EndedEarly where it dies.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(work, plan, theirs), name="measured")
    process.start()
    theirs.close()  # or the end of the process would not end the reading
    assert process.pid is not None
    try:
        last_peak_mib = yield from _received(ours, process.pid)
        process.join(LEAVE_S)
        if process.exitcode:
            raise EndedEarly(process.exitcode, last_peak_mib)
    finally:
        process.kill()
        process.join()


def _work(work: Callable[[T, TellRow], None], plan: T, rows: Connection) -> None:
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # standard output is the report's; llama.cpp writes there
    work(plan, rows.send)
    rows.close()


def _received(rows: Connection, pid: int) -> Generator[Row, None, float]:
    """Yield the rows, and return the most memory since the last one."""
    peak_mib, before = 0.0, Clock.read(pid)
    while True:
        began = time.perf_counter()
        peak_mib = max(peak_mib, memory_mib(pid))
        if not rows.poll(max(MEMORY_POLL_S, REST * (time.perf_counter() - began))):
            continue
        try:
            row: Row = rows.recv()
        except EOFError:
            return peak_mib
        now = Clock.read(pid)
        yield row | {"peak_memory_mib": round(peak_mib), "others_cores": now.others_since(before)}
        peak_mib, before = 0.0, now


def memory_mib(pid: int) -> float:
    """Return what a process and all its descendants hold in memory, pages that they share counted once."""
    return sum(map(held_bytes, family(pid))) / 2**20


def held_bytes(process: psutil.Process) -> int:
    """Return Linux's proportional set size; elsewhere shared pages count for each process."""
    try:
        held = process.memory_full_info()
    except (psutil.NoSuchProcess, psutil.AccessDenied):  # ended in the meantime
        return 0
    return int(getattr(held, "pss", held.rss))


def peak_gpu_mib() -> float | None:
    """Return the most memory that PyTorch held on the GPU for this process since the last call; None without a GPU."""
    if not has_gpu():
        return None
    import torch

    peak_mib = round(torch.cuda.max_memory_allocated() / 2**20)
    torch.cuda.reset_peak_memory_stats()
    return peak_mib


def used_gpu_mib() -> float | None:
    """Return what all processes together hold on the GPU now; None without a GPU."""
    if not has_gpu():
        return None
    import torch

    free, total = torch.cuda.mem_get_info()
    return round((total - free) / 2**20)
