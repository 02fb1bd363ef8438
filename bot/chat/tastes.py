"""Keeps the taste of each personality in memory: adds votes as they come, and learns everything again now and then."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from functools import partial

from sqlalchemy.orm import Session

from bot.background import BackgroundTasks, retry_until_available
from bot.recent import Recent
from bot.vote_queue import StoredVote
from storage.database.database import Database
from storage.personalities.personalities import Personality
from storage.settings.sections import Settings
from storage.taste.acting import TasteRole
from storage.taste.examples import Examples
from storage.taste.learning import LearnedTaste
from storage.taste.updating import KnownTaste, learn_all, learn_votes_on, served_examples

REST = 20.0
"""After learning, wait this many times the processor time that it took, so that a busy server spends its time on
answers. The clock's time would let a taste of few votes wait for minutes where other work takes the processor."""
REFRESH_S = 600.0
"""Pause between two checks for changes that this process misses: arenas, quarantines, other processes' votes."""


class Tastes:
    def __init__(
        self,
        database: Database,
        settings: Settings,
        tasks: BackgroundTasks,
        on_learned: Callable[[int, int], object],
    ) -> None:
        """`on_learned` gets a personality and one of its answers after the opinions about it have been learned."""
        self._on_learned = on_learned
        self._database = database
        self._settings = settings
        self._tasks = tasks
        self._known: dict[int, KnownTaste | None] = {}
        """Tastes by personality; None until a taste is learned."""
        self._stale: dict[int, set[int] | None] = {}
        """The answers with new votes, by personality; None means that everything must be learned again."""
        self._said_of: dict[int, int] = {}
        """The answer that people spoke of last, by personality, until that is learned."""
        self.read_privately = Recent[frozenset[tuple[int, TasteRole]]]()
        """(personality, effect of the taste) of the news that a person read privately, by user ID."""
        self._is_idle = asyncio.Event()
        self._is_idle.set()
        self._rests_until = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._watching: asyncio.Task[None] | None = None

    def of(self, personality_id: int) -> LearnedTaste | None:
        """Return the taste learned so far; None before the first time, which this call starts."""
        if personality_id not in self._known:
            self._known[personality_id] = None
            self._learn_soon({personality_id: None})
        known = self._known[personality_id]
        return known.taste if known else None

    def chooser_for(self, personality: Personality) -> KnownTaste | None:
        """Return the taste that may choose among the personality's answers now; None while none may."""
        self.of(personality.id)
        known = self._known[personality.id] if personality.follows_taste else None
        return known if known and known.taste.may_choose else None

    def examples_of(self, personality: Personality) -> Examples:
        """Return the base's examples: the card's, and answers that members like once the taste may teach."""
        return served_examples(self._settings, personality, self._known.get(personality.id))

    def watch(self) -> None:
        """Learn the tastes in memory again now and then."""
        self._watching = self._tasks.repeat(self.refresh, REFRESH_S, "learn tastes")

    def close(self) -> None:
        """Stop learning, and forget all tastes."""
        for forgotten in (self._stale, self._known, self._said_of):
            forgotten.clear()
        for waiting in (self._timer, self._watching):
            if waiting is not None:
                waiting.cancel()

    def note_vote(self, personality_id: int, reply_id: int) -> None:
        """Learn from a new vote on this answer of the personality, soon."""
        self._said_of[personality_id] = reply_id
        self._learn_soon({personality_id: {reply_id} if personality_id in self._known else None})

    def note_choice(self, personality_id: int, reply_id: int) -> None:
        """Learn from a choice between this answer of the personality and another one, soon."""
        self._said_of[personality_id] = reply_id
        self._learn_soon({personality_id: None})

    def note_stored(self, vote: StoredVote) -> None:
        """Learn from a stored vote, unless its answer was deleted."""
        if vote.personality_id is not None:
            self.note_vote(vote.personality_id, vote.reply_id)

    async def refresh(self, personality_id: int | None = None) -> None:
        """Learn the taste of the personality again if it is in memory; without one, all that are."""
        self._learn_soon(dict.fromkeys(known for known in self._known if personality_id in (None, known)))

    async def settle(self) -> None:
        """Wait until all noted votes and choices are learned."""
        while not self._is_idle.is_set():
            await self._is_idle.wait()

    def _learn_soon(self, stale: Mapping[int, set[int] | None]) -> None:
        for personality_id, reply_ids in stale.items():
            waiting = self._stale.get(personality_id, set())
            both = None if waiting is None or reply_ids is None else waiting | reply_ids
            self._stale[personality_id] = both
        if not self._stale or not self._is_idle.is_set():
            return
        self._is_idle.clear()
        if (rest := self._rests_until - time.perf_counter()) > 0:
            self._timer = asyncio.get_running_loop().call_later(rest, self._begin)
        else:
            self._begin()

    def _begin(self) -> None:
        personality_id = next(iter(self._stale))
        reply_ids, said_of = self._stale.pop(personality_id), self._said_of.pop(personality_id, None)
        self._tasks.spawn(self._learn(personality_id, reply_ids, said_of), "learn a taste")

    async def _learn(self, personality_id: int, reply_ids: set[int] | None, said_of: int | None) -> None:
        known, took = self._known.get(personality_id), 0.0
        learn: Callable[[Session, int, Settings], KnownTaste] = learn_all
        if known is not None and reply_ids is not None:
            learn = partial(learn_votes_on, known=known, reply_ids=reply_ids)
        work = partial(self._database.read, _timed, learn, personality_id, self._settings)
        try:
            self._known[personality_id], took = await retry_until_available(work, "Learning a taste")
            if said_of is not None:
                self._on_learned(personality_id, said_of)
        finally:
            self._rests_until = time.perf_counter() + REST * took
            self._is_idle.set()
            self._learn_soon({})


def _timed(
    session: Session, learn: Callable[[Session, int, Settings], KnownTaste], personality_id: int, settings: Settings
) -> tuple[KnownTaste, float]:
    """Return the taste, and the processor time in seconds that learning it took."""
    began = time.thread_time()
    return learn(session, personality_id, settings), time.thread_time() - began
