"""Reactions on their way into the database: in order of arrival, retried until they are stored."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from itertools import islice

from sqlalchemy.orm import Session

from bot.background.tasks import BackgroundTasks
from bot.background.write_queue import retry_until_available
from storage.conversations.replies import find_reply_ids, request_ids_of
from storage.database.database import Database
from storage.members.memberships import note_members
from storage.personalities.personalities import lock_personalities
from storage.runtime.request_ids import working_on
from storage.votes.picks import PickGesture, pick
from storage.votes.votes import Thumb, VoteEvent, append_events, standing_thumbs, thumb

log = logging.getLogger(__name__)


BATCH_SIZE = 200
MOST_EARLY = 500


@dataclass(frozen=True)
class Membership:
    """Since when the one who reacts is a member of the server."""

    guild_id: int
    joined_at: datetime


@dataclass(frozen=True)
class Reacted:
    """A thumb appeared under a message, or went; Discord tells of the membership when one appears in a server."""

    thumb: Thumb
    standing: bool
    membership: Membership | None = None

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


@dataclass(frozen=True)
class Recorded:
    """The message is known from now on."""

    message_id: int


Observation = Reacted | Cleared | Seen | Recorded


@dataclass(frozen=True)
class StoredVote:
    """What became of an observation, for the log and the numbers; it names no member."""

    reply_id: int
    request_id: str | None
    """Of the reply."""
    kind: str
    """up, down or withdrawn."""


class VoteQueue:
    """Stores observations one after another; while the database is away they wait in memory."""

    def __init__(self, database: Database, tasks: BackgroundTasks, on_stored: Callable[[StoredVote], None]) -> None:
        self._database = database
        self._tasks = tasks
        self._on_stored = on_stored
        self._waiting: deque[Observation] = deque()
        self._early: deque[Observation] = deque(maxlen=MOST_EARLY)
        self._recorded: set[int] = set()
        """Messages whose rows were written since the last look."""
        self._watched: Counter[int] = Counter()
        self._writing: asyncio.Task[None] | None = None

    def put(self, observation: Observation) -> None:
        if observation.message_id in self._watched:
            self._watched[observation.message_id] += 1
        self._waiting.append(observation)
        if self._writing is None or self._writing.done():
            with working_on(None):  # it stores what others observe as well
                self._writing = self._tasks.spawn(self._write_all(), "vote log")

    def recorded(self, message_id: int) -> None:
        """Take up what was observed of a message before its row stood: people can be quicker than a busy database."""
        self._recorded.add(message_id)
        if any(observation.message_id == message_id for observation in self._early):
            self.put(Recorded(message_id))

    @contextmanager
    def watching(self, message_id: int) -> Iterator[Callable[[], bool]]:
        """Yield a function that says whether anything was observed of the message since the context began."""
        self._watched[message_id] = 0
        try:
            yield lambda: self._watched[message_id] > 0
        finally:
            del self._watched[message_id]

    async def flush(self, timeout_s: float) -> None:
        """Wait until everything is stored, at most `timeout_s` seconds; the rest is found again on Discord."""
        if self._writing is not None:
            await asyncio.wait([self._writing], timeout=timeout_s)

    async def _write_all(self) -> None:
        size = BATCH_SIZE
        while self._waiting:
            try:
                done = await retry_until_available(partial(self._store_first, size), "The vote log")
            except Exception:
                if size > 1:
                    size = 1  # find the one that cannot be stored, and lose no other
                    continue
                log.exception("a reaction could not be stored: %s", self._waiting[0])
                done = 1
            for _ in range(done):
                self._waiting.popleft()
            size = BATCH_SIZE

    async def _store_first(self, size: int) -> int:
        """Store at most `size` observations from the head of the queue, and return how many they were."""
        batch = list(islice(self._waiting, size))
        reply_ids = await self._reply_ids({observation.message_id for observation in batch})
        batch = self._ours(batch, reply_ids)[:size]
        if batch:
            self._tell(await self._database.run(store, batch, reply_ids))
        return len(batch)

    def _tell(self, votes: Sequence[StoredVote]) -> None:
        for vote in votes:
            log.info(
                "A vote on reply %d is stored: %s.", vote.reply_id, vote.kind, extra={"request_id": vote.request_id}
            )
            self._on_stored(vote)

    async def _reply_ids(self, message_ids: set[int]) -> dict[int, int]:
        """Return {message id: reply id}, read anew where a row was written while they were read."""
        while True:
            self._recorded.clear()
            # Most reactions on a server concern other messages: they cost a read, not a place in the queue of writers.
            reply_ids = await self._database.read(find_reply_ids, message_ids)
            if not self._recorded & (message_ids - reply_ids.keys()):
                return reply_ids

    def _ours(self, batch: Sequence[Observation], reply_ids: Mapping[int, int]) -> list[Observation]:
        """Return the observations of our answers, which head the queue then; those of unknown messages leave it.

        What was observed before a message was known comes before all that was observed of it since.
        """
        unknown = [observation for observation in batch if observation.message_id not in reply_ids]
        for observation in unknown:
            self._waiting.remove(observation)
        waited = [observation for observation in self._early if observation.message_id in reply_ids]
        for observation in waited:
            self._early.remove(observation)
        self._waiting.extendleft(reversed(waited))
        self._early.extend(unknown)
        return waited + [observation for observation in batch if observation.message_id in reply_ids]


def store(session: Session, observations: Sequence[Observation], reply_ids: Mapping[int, int]) -> list[StoredVote]:
    """Append the observations' events in order, and return those that changed something.

    `reply_ids` maps messages to the replies that they carry.
    """
    if any(isinstance(observation, Seen) for observation in observations):
        lock_personalities(session)  # before any reply: a deletion locks in this order too
    for guild_id, joined_at in _memberships(observations).items():
        note_members(session, guild_id, joined_at)  # before any reply, for the same reason
    changes: list[VoteEvent] = []
    for observation in observations:
        events = list(_events(session, reply_ids[observation.message_id], observation))
        changes += events[: append_events(session, events)]
    requests = request_ids_of(session, {event.reply_id for event in changes})
    return [StoredVote(event.reply_id, requests.get(event.reply_id), _kind(event)) for event in changes]


def _kind(event: VoteEvent) -> str:
    return str(thumb(event.thumb.emoji) or "other") if event.standing else "withdrawn"


def _memberships(observations: Sequence[Observation]) -> dict[int, dict[int, datetime]]:
    """Return {guild id: {user id: moment of joining}} of those who reacted."""
    found: dict[int, dict[int, datetime]] = defaultdict(dict)
    for observation in observations:
        if isinstance(observation, Reacted) and observation.membership is not None:
            found[observation.membership.guild_id][observation.thumb.user_id] = observation.membership.joined_at
    return found


def stored_thumbs(session: Session, reply_id: int, message_id: int) -> frozenset[Thumb]:
    """Return the thumbs that stand under one message of a reply, as far as the database knows."""
    return frozenset(t for t in standing_thumbs(session, [reply_id]) if t.message_id == message_id)


def _events(session: Session, reply_id: int, observation: Observation) -> Iterator[VoteEvent]:
    if isinstance(observation, Recorded):
        return
    if isinstance(observation, Reacted):
        yield VoteEvent(reply_id, observation.thumb, observation.standing)
        return
    stored = stored_thumbs(session, reply_id, observation.message_id)
    if isinstance(observation, Cleared):
        gone = {t for t in stored if observation.emoji in (None, t.emoji)}
        yield from (VoteEvent(reply_id, thumb, standing=False) for thumb in gone)
        return
    yield from (VoteEvent(reply_id, thumb, standing=False, reread=True) for thumb in stored - observation.thumbs)
    yield from (VoteEvent(reply_id, thumb, standing=True, reread=True) for thumb in observation.thumbs - stored)


class PickQueue:
    def __init__(self, database: Database) -> None:
        self._database = database
        self._order = asyncio.Lock()  # lets tasks in by the order in which they came

    async def take(
        self,
        arena_id: int,
        user_id: int,
        place: int,
        gesture: PickGesture,
        *,
        joined_at: datetime | None = None,
        reread: bool = False,
    ) -> int | None:
        """Store what a member did and return the place that they pick now, if any; see `storage.votes.picks.pick`.

        It is stored when this returns; while the database is away this waits. Raises ArenaClosed.
        """
        work = partial(self._database.run, pick, arena_id, user_id, place, gesture, joined_at=joined_at, reread=reread)
        async with self._order:
            return await retry_until_available(work, "An arena pick")
