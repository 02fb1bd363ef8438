"""What was deleted on Discord a moment ago, so that an answer under way does not write it down again."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime

from storage.conversations.replies import Sources
from storage.database.columns import utc_now

MOST_REMEMBERED = 10_000


@dataclass(frozen=True)
class Deleted:
    channel_id: int
    at: datetime


class Deletions:
    """Messages and channels; noted before the database is, and asked within the transaction that writes."""

    def __init__(self) -> None:
        self._found: dict[int, Deleted] = {}
        """By id, in order; changed by the event loop alone, and copied before it is gone through on a thread."""

    def note(self, channel_id: int, message_ids: Iterable[int] = ()) -> None:
        """Remember messages of the channel; without any, the channel itself."""
        now = utc_now()
        for id_ in tuple(message_ids) or (channel_id,):
            self._found[id_] = Deleted(channel_id, now)
        while len(self._found) > MOST_REMEMBERED:
            del self._found[next(iter(self._found))]

    def concern(self, ids: Collection[int]) -> bool:
        """Return whether one of the messages or channels was deleted."""
        return any(id_ in self._found for id_ in ids)

    def concern_prompt(self, channel_id: int, sources: Sources, since: datetime) -> bool:
        """Return whether a prompt for the channel holds a message that was deleted, or tells one that was since then.

        A message that was deleted before the prompt was begun was not there to be told.
        """
        if self.concern({channel_id, *sources.messages}):
            return True
        if sources.summary is None:
            return False
        first, last = sources.summary
        return any(
            first <= id_ <= last and deleted.channel_id == channel_id and deleted.at >= since
            for id_, deleted in self._found.copy().items()
        )
