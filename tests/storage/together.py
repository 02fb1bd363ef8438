"""Work in several threads at once, for races that must have exactly one outcome."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor


def together(count: int, work: Callable[[int], object]) -> None:
    """Run `work(i)` in `count` threads that start together; raises the error of any."""
    start = threading.Barrier(count)

    def run(i: int) -> None:
        start.wait()
        work(i)

    with ThreadPoolExecutor(count) as pool:
        for running in [pool.submit(run, i) for i in range(count)]:
            running.result()
