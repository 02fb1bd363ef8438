"""Announces each entry once: its row is marked before the announcement, and unmarked if the announcement fails."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from sqlalchemy import update
from sqlalchemy.orm import Session

from storage.database.database import Database
from storage.database.rows import changed_rows

T = TypeVar("T")


@dataclass(frozen=True)
class OutboxMessage(Generic[T]):
    """A message to announce; `announced` is the column that marks its row, and `id` the row's id."""

    content: T
    id: int
    announced: Any


def take(session: Session, waiting: Sequence[OutboxMessage[T]]) -> OutboxMessage[T] | None:
    """Mark the first entry that no other process has marked in the meantime, and return it."""
    return next((entry for entry in waiting if _mark(session, entry, announced=True)), None)


def give_back(session: Session, entry: OutboxMessage[T]) -> None:
    """Unmark an entry whose announcement failed, so that it is tried again."""
    _mark(session, entry, announced=False)


async def announce_waiting(
    database: Database, find: Callable[[Session], Sequence[OutboxMessage[T]]], announce: Callable[[T], Awaitable[bool]]
) -> None:
    """Announce the entries that `find` returns, one after another, until `announce` returns False or raises."""
    while (entry := await database.run(lambda session: take(session, find(session)))) is not None:
        was_announced = False
        try:
            was_announced = await announce(entry.content)
        finally:
            if not was_announced:
                await database.run(give_back, entry)
        if not was_announced:
            return


def _mark(session: Session, entry: OutboxMessage[T], *, announced: bool) -> bool:
    """Return whether the mark changed; if two bots set it at once, it changes for only one of them."""
    table, mark = entry.announced.class_, entry.announced
    result = session.execute(
        update(table).where(table.id == entry.id, mark.is_(not announced)).values({mark: announced})
    )
    return changed_rows(result) == 1
