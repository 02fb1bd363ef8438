"""What came with messages, in words, remembered for a while for the questions that follow; never on disk."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass

from bot.attachments.material import Material

KEPT_S = 6 * 3_600.0
MOST_KEPT = 500
"""Messages."""


@dataclass(frozen=True)
class Reading:
    """What came with a message, in words."""

    materials: tuple[Material, ...] = ()
    heard: str = ""
    """What its author said in voice messages."""
    notes: tuple[str, ...] = ()
    """For the small print: what was read and, in a sentence each, what was not."""


NOTHING = Reading()


class RecentReadings:
    def __init__(self) -> None:
        self._kept: OrderedDict[int, tuple[float, Reading]] = OrderedDict()
        """{message id: (when it was read, what came with it)}, oldest first."""

    def of(self, message_id: int) -> Reading:
        self._drop_old()
        return self._kept.get(message_id, (0.0, NOTHING))[1]

    def keep(self, message_id: int, reading: Reading) -> None:
        self._kept.pop(message_id, None)
        self._kept[message_id] = time.monotonic(), reading
        self._drop_old()

    def forget(self, message_ids: Iterable[int]) -> None:
        for id_ in message_ids:
            self._kept.pop(id_, None)

    def forget_all(self) -> None:
        self._kept.clear()

    def _drop_old(self) -> None:
        since = time.monotonic() - KEPT_S
        while self._kept and (len(self._kept) > MOST_KEPT or next(iter(self._kept.values()))[0] < since):
            self._kept.popitem(last=False)
