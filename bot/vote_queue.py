"""Stores reactions and arena picks in the order of arrival, and retries until they are stored."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from itertools import groupby, islice
from typing import NamedTuple

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from bot.background import BackgroundTasks, retry_until_available
from storage.conversations.replies import find_reply_ids, origins_of
from storage.database.database import Database, vote_emoji_of
from storage.database.tables import VoteEventRow
from storage.members import note_members
from storage.personalities.personalities import lock_personalities
from storage.runtime.requests import working_on
from storage.votes.arenas import PickGesture, pick
from storage.votes.votes import Thumb, Vote, VoteEvent, append_events, current_thumbs, meanings
from storage.votes.weights import ThumbEvent, read_histories

log = logging.getLogger(__name__)


BATCH_SIZE = 200
MOST_EARLY = 500


@dataclass(frozen=True)
class Reacted:
    """A thumb that a member added to a message or removed from it."""

    thumb: Thumb
    channel_id: int
    added: bool
    guild_id: int | None = None
    joined_at: datetime | None = None
    """Discord sends it with an added thumb."""

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
    """Exactly these thumbs are under a message on Discord."""

    message_id: int
    thumbs: frozenset[Thumb]


@dataclass(frozen=True)
class Recorded:
    """The message's row was written."""

    message_id: int


Observation = Reacted | Cleared | Seen | Recorded


@dataclass(frozen=True)
class StoredVote:
    """A stored change, for the log and the metrics; it names no member."""

    reply_id: int
    personality_id: int | None
    """The reply's personality; None if the reply was deleted in the meantime."""
    request_id: str | None
    kind: str
    """The new state: up, down or withdrawn."""


@dataclass(frozen=True)
class Contradiction:
    """A member's new vote on a reply that contradicts their earlier one."""

    thumb: Thumb
    likes: tuple[str, ...]
    """The member's emoji under the reply, as Discord shows them."""
    dislikes: tuple[str, ...]


class Stored(NamedTuple):
    """The results of storing some observations."""

    changes: list[VoteEvent]
    votes: list[StoredVote]


class Hints(NamedTuple):
    """Reasons for a short message to a member."""

    contradictions: list[Contradiction]
    firsts: list[Thumb]
    """First votes of members who had never voted before."""


class VoteQueue:
    """Stores observations one after another; while the database is unreachable, they wait in memory."""

    def __init__(
        self,
        database: Database,
        tasks: BackgroundTasks,
        on_stored: Collection[Callable[[StoredVote], None]],
        on_contradiction: Callable[[int, Contradiction], object] = lambda _channel_id, _found: None,
        on_first_vote: Callable[[int, Thumb], object] = lambda _channel_id, _thumb: None,
    ) -> None:
        """`on_contradiction` gets new thumbs that cancel opposite ones, `on_first_vote` the first of each member.

        Both get the channel's ID first.
        """
        self._database = database
        self._tasks = tasks
        self._on_stored = on_stored
        self._on_contradiction = on_contradiction
        self._on_first_vote = on_first_vote
        self._waiting: deque[Observation] = deque()
        self._early: deque[Observation] = deque(maxlen=MOST_EARLY)
        self._recorded: set[int] = set()
        """Messages whose rows were written since the last query for reply IDs."""
        self._watched: Counter[int] = Counter()
        self._writing: asyncio.Task[None] | None = None

    def put(self, observation: Observation) -> None:
        if observation.message_id in self._watched:
            self._watched[observation.message_id] += 1
        self._waiting.append(observation)
        if self._writing is None or self._writing.done():
            with working_on(None):  # it stores the observations of other requests too
                self._writing = self._tasks.spawn(self._write_all(), "vote log")

    def recorded(self, message_id: int) -> None:
        """Store observations of a message from before its row was written: people can be faster than the database."""
        self._recorded.add(message_id)
        if any(observation.message_id == message_id for observation in self._early):
            self.put(Recorded(message_id))

    @contextmanager
    def watching(self, message_id: int) -> Iterator[Callable[[], bool]]:
        """Yield a function that returns whether anything was observed of the message in this context."""
        self._watched[message_id] = 0
        try:
            yield lambda: self._watched[message_id] > 0
        finally:
            del self._watched[message_id]

    async def flush(self, timeout_s: float) -> None:
        """Wait until everything is stored, for at most `timeout_s`; the next start finds the rest on Discord."""
        if self._writing is not None:
            await asyncio.wait([self._writing], timeout=timeout_s)

    async def _write_all(self) -> None:
        size = BATCH_SIZE
        while self._waiting:
            try:
                done = await retry_until_available(partial(self._store_first, size), "The vote log")
            except Exception:
                if size > 1:
                    size = 1  # find the one that cannot be stored, and lose no others
                    continue
                log.exception("A reaction under message %d could not be stored.", self._waiting[0].message_id)
                done = 1
            for _ in range(done):
                self._waiting.popleft()
            size = BATCH_SIZE

    async def _store_first(self, size: int) -> int:
        """Store at most `size` observations from the head of the queue, and return the number of stored ones."""
        batch = list(islice(self._waiting, size))
        reply_ids = await self._reply_ids({observation.message_id for observation in batch})
        batch = self._ours(batch, reply_ids)[:size]
        if batch:
            stored = await self._database.run(store, batch, reply_ids)
            for vote in stored.votes:
                request = {"request_id": vote.request_id}
                log.info("A vote on reply %d is stored: %s.", vote.reply_id, vote.kind, extra=request)
                for note in self._on_stored:
                    note(vote)
            channels = {one.message_id: one.channel_id for one in batch if isinstance(one, Reacted)}
            await self._hint(stored.changes, channels)
        return len(batch)

    async def _hint(self, changes: Sequence[VoteEvent], channels: Mapping[int, int]) -> None:
        """Report the reasons for hints; the votes are stored already, so these queries hold up no write."""
        if not any(_is_new(event) for event in changes):
            return
        hints = await self._database.read(read_hints, changes)
        for found in hints.contradictions:
            self._on_contradiction(channels[found.thumb.message_id], found)
        for first in hints.firsts:
            self._on_first_vote(channels[first.message_id], first)

    async def _reply_ids(self, message_ids: set[int]) -> dict[int, int]:
        """Return {message id: reply id}; read again if a row was written in the meantime."""
        while True:
            self._recorded.clear()
            # Most reactions on a server concern other messages: they cost a read, not a write transaction.
            reply_ids = await self._database.read(find_reply_ids, message_ids)
            if not self._recorded & (message_ids - reply_ids.keys()):
                return reply_ids

    def _ours(self, batch: Sequence[Observation], reply_ids: Mapping[int, int]) -> list[Observation]:
        """Return the observations of our answers, and move them to the head of the queue.

        Observations of unknown messages leave the queue. Those that were made before a message was known come before
        later ones.
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


def store(session: Session, observations: Sequence[Observation], reply_ids: Mapping[int, int]) -> Stored:
    """Append the observations' events in order; `reply_ids` maps messages to the replies that they carry."""
    if any(isinstance(observation, Seen) for observation in observations):
        lock_personalities(session)  # before any reply, in the same order as a deletion
    for guild_id, joined_at in _memberships(observations).items():
        note_members(session, guild_id, joined_at)  # before any reply, for the same reason
    changes: list[VoteEvent] = []
    for kind, run in groupby(observations, type):
        # Reactions do not depend on what is stored, so three statements are enough for all that follow each other.
        for batch in [list(run)] if kind is Reacted else [[one] for one in run]:
            events = [event for one in batch for event in _events(session, reply_ids[one.message_id], one)]
            changes += append_events(session, events)
    origins = origins_of(session, {event.reply_id for event in changes})
    votes: list[StoredVote] = []
    known = meanings(session)
    for event in changes:
        kind = str(known[event.thumb.emoji]) if event.added else "withdrawn"
        personality_id, request_id = origins.get(event.reply_id, (None, None))
        votes.append(StoredVote(event.reply_id, personality_id, request_id, kind))
    return Stored(changes, votes)


def read_hints(session: Session, changes: Sequence[VoteEvent]) -> Hints:
    """Return the hints about stored changes, with two queries."""
    added = list(filter(_is_new, changes))
    members = {event.thumb.user_id for event in added}
    counts = select(VoteEventRow.user_id, func.count()).where(VoteEventRow.user_id.in_(members))
    known = dict(session.execute(counts.group_by(VoteEventRow.user_id)).all())
    new = Counter(event.thumb.user_id for event in changes)
    firsts = {event.thumb.user_id: event.thumb for event in reversed(added)}
    histories = read_histories(
        session, VoteEventRow.reply_id.in_({event.reply_id for event in added}), VoteEventRow.user_id.in_(members)
    )
    standing = {key: history.standing for key, history in histories.items()}
    return Hints(
        list(_contradictions(session, added, standing)),
        [thumb for member, thumb in firsts.items() if known.get(member) == new[member]],
    )


def _is_new(event: VoteEvent) -> bool:
    """Return whether a member added the thumb just now."""
    return event.added and not event.reread


def _contradictions(
    session: Session, added: Iterable[VoteEvent], standing: Mapping[tuple[int, int], Sequence[ThumbEvent]]
) -> Iterator[Contradiction]:
    """Yield the added thumbs whose member gave the same reply an opposite one too; `standing` is by reply and user."""
    emoji = vote_emoji_of(session)
    newest = {(event.reply_id, event.thumb.user_id): event.thumb for event in added}
    for key, thumb in newest.items():
        given = {said: {emoji.spelled[one.emoji] for one in standing.get(key, ()) if one.vote is said} for said in Vote}
        likes, dislikes = (tuple(emoji.written(one) for one in emoji.weights if one in given[said]) for said in Vote)
        if likes and dislikes:
            yield Contradiction(thumb, likes, dislikes)


def _memberships(observations: Sequence[Observation]) -> dict[int, dict[int, datetime]]:
    """Return {guild id: {user id: joining date}} of the members who reacted."""
    found: dict[int, dict[int, datetime]] = defaultdict(dict)
    for observation in observations:
        if isinstance(observation, Reacted) and observation.guild_id and observation.joined_at:
            found[observation.guild_id][observation.thumb.user_id] = observation.joined_at
    return found


def stored_thumbs(session: Session, reply_id: int, message_id: int) -> frozenset[Thumb]:
    """Return the thumbs under one message of a reply, according to the database.

    Emoji that were votes and are none in the settings now are left out, and left as they are.
    """
    known = meanings(session)
    return frozenset(t for t in _standing(session, reply_id, message_id) if t.emoji in known)


def _standing(session: Session, reply_id: int, message_id: int) -> set[Thumb]:
    return {t for t in current_thumbs(session, [reply_id]) if t.message_id == message_id}


def _events(session: Session, reply_id: int, observation: Observation) -> Iterator[VoteEvent]:
    if isinstance(observation, Recorded):
        return
    if isinstance(observation, Reacted):
        yield VoteEvent(reply_id, observation.thumb, observation.added)
        return
    if isinstance(observation, Cleared):
        standing = _standing(session, reply_id, observation.message_id)
        gone = {t for t in standing if observation.emoji in (None, t.emoji)}
        yield from (VoteEvent(reply_id, thumb, added=False) for thumb in gone)
        return
    stored = stored_thumbs(session, reply_id, observation.message_id)
    yield from (VoteEvent(reply_id, thumb, added=False, reread=True) for thumb in stored - observation.thumbs)
    yield from (VoteEvent(reply_id, thumb, added=True, reread=True) for thumb in observation.thumbs - stored)


class PickQueue:
    """Stores arena picks one at a time."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._order = asyncio.Lock()  # tasks get it in the order in which they asked

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
        """Store a member's gesture and return the place that they pick now, if any; see `storage.votes.arenas.pick`.

        This waits while the database is unreachable. Raises ArenaClosed.
        """
        work = partial(self._database.run, pick, arena_id, user_id, place, gesture, joined_at=joined_at, reread=reread)
        async with self._order:
            picked: int | None = await retry_until_available(work, "An arena pick")
        return picked
