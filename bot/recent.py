"""The newest entries by ID: memory that strangers cannot fill."""

from __future__ import annotations

from typing import TypeVar

MOST_REMEMBERED = 10_000
T = TypeVar("T")


class Recent(dict[int, T]):
    """Forgets the entries that came first."""

    def __setitem__(self, id_: int, value: T, /) -> None:
        super().__setitem__(id_, value)
        while len(self) > MOST_REMEMBERED:
            del self[next(iter(self))]
