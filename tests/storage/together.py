"""Work in several threads at once, for races that must have exactly one outcome."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from sqlalchemy.orm import Session

from storage.database.database import Database


def together(count: int, work: Callable[[int], Any], refused: type[Exception] | tuple[()] = ()) -> list[Any]:
    """Return what `work(i)` returns in `count` threads that start together, or the error if it is `refused`.

    Raises any other error.
    """
    start = threading.Barrier(count)

    def run(i: int) -> Any:
        start.wait()
        try:
            return work(i)
        except refused as error:
            return error

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(run, range(count)))


def at_once(
    database: Database, count: int, work: Callable[[Session, int], Any], refused: type[Exception] | tuple[()] = ()
) -> list[Any]:
    """Like `together`, with `work(session, i)` in a transaction of its own, which is not tried again."""

    def run(i: int) -> Any:
        with database.transaction() as session:
            return work(session, i)

    return together(count, run, refused)


def race(database: Database, first: Callable[[Session], object], second: Callable[[Session], object]) -> object:
    """Begin `second` while `first` is done but not committed; return what `second` returned."""
    results: list[object] = []

    def follow() -> None:
        with database.transaction() as session:
            results.append(second(session))

    thread = threading.Thread(target=follow)
    with database.transaction() as session:
        first(session)
        thread.start()
        thread.join(timeout=0.3)  # it waits for this transaction, or would overlook what it did
    thread.join()
    return results[0]
