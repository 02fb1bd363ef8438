"""The load of `reactune bench capacity`: processes that store answers and votes as the bot does, without a model."""

from __future__ import annotations

import asyncio
import multiprocessing
import random
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from bot.background import BackgroundTasks
from bot.releases.resolver import ReleaseCandidates, ReleaseResolver, read_candidates
from bot.vote_queue import Reacted, VoteQueue
from storage.adapters.folder_store import AdapterStore
from storage.conversations.replies import FinishedReply, NewReply, add_message, finish_reply, start_reply
from storage.conversations.summaries import read_memory
from storage.database.columns import utc_now
from storage.database.database import Database
from storage.database.enums import Outcome, Scope
from storage.members import is_greeted
from storage.memory import list_notes
from storage.models.base_model import BaseModel
from storage.personalities.bindings import BindingPlace, active_personality_at
from storage.privacy.consent import basis_of_chat, erased_since
from storage.votes.votes import Thumb
from tests.benchmarks.databases import open_at
from tests.bot.scripted_engine import ScriptedEngine

ANSWER, VOTE = "answer", "vote"
SERVERS, MEMBERS = 10_000, 500_000
PROMPT = "A conversation of some length. " * 50  # 1,550 characters
REPLY = "An answer of two sentences. It says what it has to say, and ends. "
RECENT = 200  # answers that members still vote on
PATIENCE_S = 120.0
MOST_PROCESSES = 1_000
AT_ONCE = 8  # of a process that is not paced


@dataclass(frozen=True)
class Load:
    """Answers and votes per second, shared by so many processes, for so many seconds."""

    answers_per_s: float
    votes_per_s: float
    processes: int
    seconds: float
    is_paced: bool = True

    def times(self, factor: float) -> Load:
        return replace(self, answers_per_s=self.answers_per_s * factor, votes_per_s=self.votes_per_s * factor)

    def unpaced(self) -> Load:
        """Return the same mix as fast as it goes, each worker with its next when the one before is done."""
        return replace(self, is_paced=False)

    def rate(self, kind: str) -> float:
        return self.answers_per_s if kind == ANSWER else self.votes_per_s


@dataclass
class Seen:
    seconds: float = 0.0
    failed: int = 0
    waits_ms: dict[str, list[float]] = field(default_factory=lambda: {ANSWER: [], VOTE: []})
    """From somebody's coming until what they brought was stored."""

    def add(self, other: Seen) -> None:
        self.seconds = max(self.seconds, other.seconds)
        self.failed += other.failed
        for kind, waits in other.waits_ms.items():
            self.waits_ms[kind] += waits


def run_load(url: str, load: Load) -> Seen:
    """Let the processes put their load on the database at `url`, all at once, and return what they saw."""
    context = multiprocessing.get_context("spawn")
    all_ready, results = context.Barrier(load.processes), context.Queue()
    processes = [
        context.Process(target=_process, args=(url, load, number, all_ready, results))
        for number in range(load.processes)
    ]
    for process in processes:
        process.start()
    total = Seen()
    for _ in processes:
        total.add(results.get(timeout=PATIENCE_S + load.seconds))
    for process in processes:
        process.join()
    return total


def _process(url: str, load: Load, number: int, all_ready: Barrier, results: Queue[Seen]) -> None:
    with closing(open_at(url)) as database:
        results.put(asyncio.run(_BotProcess(database, load, number).run(all_ready)))


class _BotProcess:
    """What one process of the bot does with the database: the calls of the chat cog, the answerer and the vote log."""

    def __init__(self, database: Database, load: Load, number: int) -> None:
        self._database = database
        self._load = load
        self._rng = random.Random(number)
        self._next_message = time.time_ns() // MOST_PROCESSES * MOST_PROCESSES + number  # nobody else's
        self._recent: deque[int] = deque(maxlen=RECENT)
        nowhere = Path("nowhere")
        base = BaseModel(name="none", path=nowhere, revision="0" * 16, architecture="none")
        self._releases = ReleaseResolver(database, AdapterStore(nowhere), base, ScriptedEngine())
        self._votes = VoteQueue(database, BackgroundTasks(), ())
        self._seen = Seen()

    async def run(self, all_ready: Barrier) -> Seen:
        await self._answer()  # connections and threads are made before anything is measured
        await asyncio.to_thread(all_ready.wait, PATIENCE_S)
        began_s = time.perf_counter()
        if self._load.is_paced:
            await asyncio.gather(self._arrivals(ANSWER, self._answer), self._arrivals(VOTE, self._vote))
        else:
            await asyncio.gather(*(self._work_through(began_s) for _ in range(AT_ONCE)))
        self._seen.seconds = time.perf_counter() - began_s
        return self._seen

    async def _arrivals(self, kind: str, work: Callable[[], Awaitable[None]]) -> None:
        """Start work at the moments of a Poisson process, without waiting for earlier work."""
        began_s = due_s = time.perf_counter()
        under_way: list[asyncio.Task[None]] = []
        rate = self._load.rate(kind) / self._load.processes
        while (due_s := due_s + self._rng.expovariate(rate)) < began_s + self._load.seconds:
            await asyncio.sleep(max(0.0, due_s - time.perf_counter()))
            under_way.append(asyncio.create_task(self._timed(kind, work, due_s)))
        await asyncio.gather(*under_way)

    async def _work_through(self, began_s: float) -> None:
        share = self._load.answers_per_s / (self._load.answers_per_s + self._load.votes_per_s)
        while (now_s := time.perf_counter()) < began_s + self._load.seconds:
            kind, work = (ANSWER, self._answer) if self._rng.random() < share else (VOTE, self._vote)
            await self._timed(kind, work, now_s)

    async def _timed(self, kind: str, work: Callable[[], Awaitable[None]], due_s: float) -> None:
        try:
            await work()
        except SQLAlchemyError:
            self._seen.failed += 1
            return
        self._seen.waits_ms[kind].append((time.perf_counter() - due_s) * 1_000)

    async def _answer(self) -> None:
        guild_id, member = self._rng.randrange(1, SERVERS) << 22, self._rng.randrange(1, MEMBERS)
        places = [BindingPlace(Scope.CHANNEL, guild_id + 1), BindingPlace(Scope.SERVER, guild_id)]
        candidates = await self._database.read(_read_context, places, guild_id + 1, member)
        release = await self._releases.choose(candidates)
        assert release.version is None
        reply_id = await self._database.run(_start, candidates.personality_id, guild_id, member)
        self._next_message += MOST_PROCESSES
        message_id = self._next_message
        await self._database.run(add_message, reply_id, message_id, guild_id + 1, 0)
        await self._database.run(finish_reply, reply_id, FinishedReply(REPLY, Outcome.COMPLETE, answer_tokens=20))
        self._recent.append(message_id)

    async def _vote(self) -> None:
        message_id = self._rng.choice(self._recent)
        thumb = Thumb(message_id, self._rng.randrange(1, MEMBERS), self._rng.choice("👍👍👎"))
        self._votes.put(Reacted(thumb, 0, added=True))
        await self._votes.flush(60)


def _read_context(
    session: Session, places: Sequence[BindingPlace], channel_id: int, member_id: int
) -> ReleaseCandidates:
    read_memory(session, channel_id)
    list_notes(session, member_id, channel_id - 1)
    is_greeted(session, member_id)
    active = active_personality_at(session, places)
    return read_candidates(session, active.personality.id)


def _start(session: Session, personality_id: int, guild_id: int, member: int) -> int:
    erased_since(session, {member}, utc_now())
    messages: Sequence[dict[str, str]] = [{"role": "user", "content": PROMPT}]
    return start_reply(
        session,
        NewReply(
            personality_id=personality_id,
            version_id=None,
            base_revision="0" * 16,
            prompt=PROMPT,
            messages=list(messages),
            sampling={"temperature": 0.7, "top_p": 0.9, "presence_penalty": 1.5, "max_new_tokens": 256},
            seed=17,
            prompt_tokens=350,
            dropped_turns=0,
            guild_id=guild_id,
            channel_id=guild_id + 1,
            author_id=member,
            source_message_id=None,
            basis=basis_of_chat(session, {member}),
            speakers=frozenset({member}),
        ),
    )
