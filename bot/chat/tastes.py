"""Keeps the taste of each personality in memory, and learns it again after votes."""

from __future__ import annotations

import asyncio
import time
from functools import partial

from bot.background import BackgroundTasks, retry_until_available
from storage.database.database import Database
from storage.settings.sections import Settings
from storage.taste.learning import LearnedTaste, learn_taste

REST = 20.0
"""After learning, wait this many times as long as it took, so that a busy server spends its time on answers."""
REFRESH_S = 600.0
"""Between two looks at what this process does not notice: arenas, quarantines, votes stored by other processes."""


class Tastes:
    def __init__(self, database: Database, settings: Settings, tasks: BackgroundTasks) -> None:
        self._database = database
        self._settings = settings
        self._tasks = tasks
        self._learned: dict[int, LearnedTaste | None] = {}
        """By personality; None until it is learned."""
        self._stale: set[int] = set()
        self._is_learning = False
        self._rests_until = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._watching: asyncio.Task[None] | None = None

    def of(self, personality_id: int) -> LearnedTaste | None:
        """Return what is learned so far; None before the first time, which this call starts."""
        if personality_id not in self._learned:
            self._learned[personality_id] = None
            self._learn_soon({personality_id})
        return self._learned[personality_id]

    def watch(self) -> None:
        """Learn the tastes in memory again now and then."""
        self._watching = self._tasks.repeat(self.refresh, REFRESH_S, "learn tastes")

    def close(self) -> None:
        """Forget everything, so that nothing is learned any more."""
        self._stale.clear()
        self._learned.clear()
        for waiting in (self._timer, self._watching):
            if waiting is not None:
                waiting.cancel()

    def note_vote(self, personality_id: int) -> None:
        """Learn from a new vote on an answer of this personality, soon."""
        if personality_id in self._learned:
            self._learn_soon({personality_id})

    async def refresh(self) -> None:
        """Learn all tastes in memory again."""
        self._learn_soon(set(self._learned))

    def _learn_soon(self, personality_ids: set[int]) -> None:
        self._stale |= personality_ids
        if not self._stale or self._is_learning:
            return
        self._is_learning = True
        if (rest := self._rests_until - time.perf_counter()) > 0:
            self._timer = asyncio.get_running_loop().call_later(rest, self._begin)
        else:
            self._begin()

    def _begin(self) -> None:
        self._tasks.spawn(self._learn(self._stale.pop()), "learn a taste")

    async def _learn(self, personality_id: int) -> None:
        began = time.perf_counter()
        work = partial(self._database.read, learn_taste, personality_id, self._settings)
        try:
            self._learned[personality_id] = await retry_until_available(work, "Learning a taste")
        finally:
            now = time.perf_counter()
            self._rests_until = now + REST * (now - began)
            self._is_learning = False
            self._learn_soon(set())
