"""Announces each entry once: its row is marked before the announcement, and unmarked if the announcement fails."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from sqlalchemy import update
from sqlalchemy.orm import InstrumentedAttribute, Session

from storage.database.database import Database
from storage.database.rows import changed_rows

T = TypeVar("T")


@dataclass(frozen=True)
class OutboxMessage(Generic[T]):
    """Something to announce; `told` is the column that marks its row, and `id` the row's id."""

    content: T
    id: int
    told: InstrumentedAttribute[bool]


def take(session: Session, waiting: Sequence[OutboxMessage[T]]) -> OutboxMessage[T] | None:
    """Mark the first entry that no other process has marked in the meantime, and return it."""
    return next((entry for entry in waiting if _mark(session, entry, told=True)), None)


def give_back(session: Session, entry: OutboxMessage[T]) -> None:
    """Unmark an entry whose announcement failed, so that it is tried again."""
    _mark(session, entry, told=False)


async def tell_waiting(
    database: Database, find: Callable[[Session], Sequence[OutboxMessage[T]]], tell: Callable[[T], Awaitable[bool]]
) -> None:
    """Announce the entries that `find` returns, one after another, until `tell` returns False or raises."""
    while (entry := await database.run(lambda session: take(session, find(session)))) is not None:
        is_told = False
        try:
            is_told = await tell(entry.content)
        finally:
            if not is_told:
                await database.run(give_back, entry)
        if not is_told:
            return


def _mark(session: Session, entry: OutboxMessage[T], *, told: bool) -> bool:
    """Return whether the mark changed; if two bots set it at once, it changes for only one of them."""
    table = entry.told.class_
    result = session.execute(
        update(table).where(table.id == entry.id, entry.told.is_(not told)).values({entry.told: told})
    )
    return changed_rows(result) == 1
