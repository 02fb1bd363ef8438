"""Remembers recent deletions on Discord, so that an answer in progress does not store deleted words again."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

from bot.recent import Recent
from storage.conversations.replies import Sources
from storage.database.columns import utc_now


@dataclass(frozen=True)
class Deleted:
    channel_id: int
    at: datetime


@dataclass(eq=False)
class _Watch:
    """A prompt that is being answered."""

    channel_id: int
    sources: Sources
    since: datetime
    on_deleted: Callable[[], None]
    is_deleted: bool = False


class Deletions:
    """Deleted messages and channels: noted before the database, and checked in the transaction that writes."""

    def __init__(self) -> None:
        self._found = Recent[Deleted]()
        """Deletions by ID. Only the event loop changes them; other threads read a copy."""
        self._watches: set[_Watch] = set()

    def note(self, channel_id: int, message_ids: Iterable[int] = ()) -> None:
        """Remember deleted messages of the channel; without any, the deleted channel itself."""
        now = utc_now()
        for id_ in tuple(message_ids) or (channel_id,):
            self._found[id_] = Deleted(channel_id, now)
        for watch in list(self._watches):
            if not watch.is_deleted and self.concern_prompt(watch.channel_id, watch.sources, watch.since):
                watch.is_deleted = True
                watch.on_deleted()

    @contextmanager
    def watching(
        self, channel_id: int, sources: Sources, since: datetime, on_deleted: Callable[[], None]
    ) -> Iterator[Callable[[], bool]]:
        """Call `on_deleted` once `concern_prompt` is true; yield a function that returns whether it is."""
        watch = _Watch(channel_id, sources, since, on_deleted)
        self._watches.add(watch)
        try:
            yield lambda: watch.is_deleted
        finally:
            self._watches.discard(watch)

    def concern(self, message_ids: Collection[int]) -> bool:
        return any(id_ in self._found for id_ in message_ids)

    def concern_channel(self, channel_id: int) -> bool:
        """Return whether the channel was deleted: a thread has the ID of the message that it was made from."""
        deleted = self._found.get(channel_id)
        return deleted is not None and deleted.channel_id == channel_id

    def concern_prompt(self, channel_id: int, sources: Sources, since: datetime) -> bool:
        """Return whether a prompt for the channel quotes a deleted message, or summarizes one deleted since then.

        A message that was deleted before the prompt was begun is not part of its summary.
        """
        if self.concern_channel(channel_id) or self.concern(sources.messages.keys()):
            return True
        if sources.summary is None:
            return False
        first, last = sources.summary
        return any(
            first <= id_ <= last and channel_id in (deleted.channel_id, id_) and deleted.at >= since
            for id_, deleted in self._found.copy().items()
        )
