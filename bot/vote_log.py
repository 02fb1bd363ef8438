"""Reactions on their way into the database: in order of arrival, retried until they are stored."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, deque
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session

from storage.database import Database
from storage.replies import find_reply_ids
from storage.votes import Thumb, VoteEvent, append_events, standing_thumbs

log = logging.getLogger(__name__)

BATCH_SIZE = 200
LONGEST_PAUSE_S = 5.0


@dataclass(frozen=True)
class Reacted:
    """A thumb appeared under a message, or went."""

    thumb: Thumb
    standing: bool

    @property
    def message_id(self) -> int:
        return self.thumb.message_id


@dataclass(frozen=True)
class Cleared:
    """A moderator removed every reaction of a message, or every one with this emoji."""

    message_id: int
    emoji: str | None = None


@dataclass(frozen=True)
class Seen:
    """These thumbs, and no others, stand under a message on Discord."""

    message_id: int
    thumbs: frozenset[Thumb]


Observation = Reacted | Cleared | Seen
Spawn = Callable[[Coroutine[Any, Any, None], str], Any]


class VoteLog:
    """Stores observations one after another; while the database is away they wait in memory."""

    def __init__(self, database: Database, spawn: Spawn) -> None:
        self._database = database
        self._spawn = spawn
        self._waiting: deque[Observation] = deque()
        self._arrivals: Counter[int] = Counter()
        self._writing = False

    def put(self, observation: Observation) -> None:
        self._waiting.append(observation)
        self._arrivals[observation.message_id] += 1
        if not self._writing:
            self._writing = True
            self._spawn(self._write_all(), "vote log")

    def arrivals(self, message_id: int) -> int:
        """Return a count that grows with every observation of the message."""
        return self._arrivals[message_id]

    async def flush(self, timeout_s: float) -> None:
        """Wait until everything is stored, at most `timeout_s` seconds; the rest is found again on Discord."""
        waited_s = 0.0
        while self._writing and waited_s < timeout_s:
            await asyncio.sleep(0.02)
            waited_s += 0.02

    async def _write_all(self) -> None:
        pause_s = 0.1
        try:
            while self._waiting:
                batch = [self._waiting[i] for i in range(min(BATCH_SIZE, len(self._waiting)))]
                try:
                    await self._database.run(lambda session, batch=batch: store(session, batch))  # type: ignore[misc]
                except (OperationalError, InterfaceError, PoolTimeout):
                    log.warning("%d votes wait for the database; next try in %.1f s", len(self._waiting), pause_s)
                    await asyncio.sleep(pause_s)
                    pause_s = min(pause_s * 2, LONGEST_PAUSE_S)
                    continue
                except Exception:
                    # Not to be repaired by waiting, and it must not hold up other votes; reconciling finds these again.
                    log.exception("%d reactions could not be stored", len(batch))
                for _ in batch:
                    self._waiting.popleft()
                pause_s = 0.1
        finally:
            self._writing = False


def store(session: Session, observations: list[Observation]) -> None:
    """Append the observations' events, in order; messages that carry no reply are passed over."""
    reply_ids = find_reply_ids(session, {observation.message_id for observation in observations})
    for observation in observations:
        reply_id = reply_ids.get(observation.message_id)
        if reply_id is not None:
            append_events(session, list(_events(session, reply_id, observation)))


def _events(session: Session, reply_id: int, observation: Observation) -> Iterator[VoteEvent]:
    if isinstance(observation, Reacted):
        yield VoteEvent(reply_id, observation.thumb, observation.standing)
        return
    stored = {t for t in standing_thumbs(session, [reply_id]) if t.message_id == observation.message_id}
    if isinstance(observation, Cleared):
        gone = {t for t in stored if observation.emoji in (None, t.emoji)}
        yield from (VoteEvent(reply_id, thumb, standing=False) for thumb in gone)
        return
    yield from (VoteEvent(reply_id, thumb, standing=False) for thumb in stored - observation.thumbs)
    yield from (VoteEvent(reply_id, thumb, standing=True) for thumb in observation.thumbs - stored)
