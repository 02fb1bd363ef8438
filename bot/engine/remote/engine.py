"""The engine that asks servers: whose turn it is, on which of them, and what becomes of answers that they fail."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Coroutine, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from bot.chat.prompting import ChatMessage
from bot.engine.protocol import EngineState, Finish, GenerationRequest, RenderedPrompt
from bot.engine.queue import Turns, require_room
from bot.engine.remote.adapter_loading import versions_of
from bot.engine.remote.completion import Answer, RemoteGeneration, answer
from bot.engine.remote.errors import Overloaded, Refused, ServerError, Slow, Unreachable, VersionRefused
from bot.engine.remote.health import NEEDS_KEY, HealthWatch, problem_of
from bot.engine.remote.replicas import Replica, choose_replica, next_chance, prefix_blocks
from bot.engine.remote.server import Server, open_session
from bot.engine.remote.spending import Spending
from bot.engine.rendering import Renderer, open_window
from bot.errors import EngineClosed, EngineStopped, ServersUnreachable, UserFacingError
from storage.adapters.folder_store import AdapterRef
from storage.adapters.served_copies import open_served_copies, served_name
from storage.database.database import Database
from storage.models.base_model import BaseModel, end_ids
from storage.models.libraries import MODEL_LIBRARIES
from storage.settings.sections import Settings

log = logging.getLogger(__name__)

MOST_ATTEMPTS = 3
"""Servers asked for an answer before it is given up; those that have too much to do do not count."""


class RemoteEngine:
    """Answers begin as soon as a server has one of its `generation.batch_size` places free; lanes take turns.

    A conversation goes to the server that has read its beginning, others to the idlest one. An answer whose server
    fails is asked of another one as long as nothing of it was shown.
    """

    def __init__(self, base: BaseModel, settings: Settings, database: Database) -> None:
        self._base = base
        self._settings = settings
        self._remote = settings.remote
        self._versions = versions_of(settings)
        self._spending = Spending(database, settings.remote)
        self._watch = HealthWatch(settings.remote, self._versions, lambda _replica: self._settle())
        self._replicas: list[Replica] = []
        self._wanted: list[AdapterRef | None] = []
        """Versions to load with the start."""
        self._waiting: list[RemoteGeneration] = []
        self._turns = Turns()
        self._timers: dict[RemoteGeneration, asyncio.TimerHandle] = {}
        self._answers: set[asyncio.Task[None]] = set()
        """Under way, and the counting of their tokens: closing waits for them."""
        self._chores: set[asyncio.Task[None]] = set()
        """What closing ends: looks at servers, and versions that are loaded ahead."""
        self._alarm: asyncio.TimerHandle | None = None
        """Rings when a server's rest is over."""
        self._session: Any = None
        self._is_open = False
        self._is_closing = False
        self._idle = asyncio.Event()
        self._renderer: Renderer | None = None
        self._ends: dict[int, str] = {}

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def state(self) -> EngineState:
        loaded = {name for replica in self._replicas for name in replica.loaded}
        state = EngineState(len(loaded), name="the remote engine")
        if not self._is_open:
            return replace(state, trouble="" if self._is_closing else "the remote engine is not started")
        lost = [one.problem for one in self._replicas if one.problem is not None]
        told = "; ".join(lost)
        answers = len(lost) < len(self._replicas)
        return replace(state, lacks=told) if answers else replace(state, trouble=told)

    async def start(self) -> None:
        """Read the tokenizer and look at the servers once; those that are not there may come later."""
        try:
            window = open_window(self._base.path, self._settings.model, self._settings.generation.max_new_tokens)
            await asyncio.to_thread(self._read_tokenizer, window)
        except Exception as error:
            raise EngineStopped(f"the tokenizer in {self._base.path} cannot be used: {error}") from error
        if self._is_closing:
            return
        key = self._settings.remote_api_key
        self._session = open_session(self._remote, key.get_secret_value().strip() if key else None)
        self._replicas = [Replica(Server(url, self._session, self._remote)) for url in self._remote.servers]
        looks = [self._look(replica) for replica in self._replicas]
        await asyncio.gather(self._spending.look(), *looks, return_exceptions=True)
        if self._is_closing:
            return
        for replica in self._replicas:
            _spawn(self._chores, self._watch.watch(replica), f"watch {replica.server.url}")
        _spawn(self._chores, self._tidy(), "unused copies of versions")
        self._is_open = True
        for adapter in self._wanted:
            self.prepare(adapter)
        self._settle()

    def _read_tokenizer(self, window: int) -> None:
        with MODEL_LIBRARIES:
            from transformers import AutoTokenizer

            tokenizer = AutoTokenizer.from_pretrained(self._base.path, local_files_only=True)
        self._renderer = Renderer(tokenizer, window - self._settings.generation.max_new_tokens)
        self._ends = {id_: str(tokenizer.convert_ids_to_tokens(id_)) for id_ in end_ids(self._base.path, tokenizer)}

    async def close(self, drain_s: float) -> None:
        self._is_open, self._is_closing = False, True
        self._settle()
        try:
            await asyncio.wait_for(self._idle.wait(), drain_s)
        except TimeoutError:
            for generation in list(self._timers):
                self._end(generation, Finish.CANCELLED)
        for chore in self._chores:
            chore.cancel()
        while self._answers or self._chores:  # an answer that ends has its tokens counted
            await asyncio.gather(*self._answers, *self._chores, return_exceptions=True)
        if self._alarm:
            self._alarm.cancel()
        if self._session is not None:
            await self._session.close()

    async def render(self, messages: Sequence[ChatMessage]) -> RenderedPrompt:
        if self._renderer is None:
            raise EngineStopped("the engine is not started")
        return await asyncio.to_thread(self._renderer.render, messages)

    def prepare(self, adapter: AdapterRef | None) -> None:
        """Have every server that is well load the version; one that comes back later loads it when it is asked for."""
        if not self._replicas:
            self._wanted.append(adapter)
        elif adapter is not None and not self._is_closing:
            for replica in self._replicas:
                if replica.problem is None:
                    _spawn(self._chores, self._prepare(replica, adapter), f"prepare {served_name(adapter)}")

    async def _prepare(self, replica: Replica, adapter: AdapterRef) -> None:
        try:
            async with self._versions.naming(replica, adapter):
                pass
        except ServerError as error:
            log.warning("A version is not ready: %s.", error)

    async def _tidy(self) -> None:
        loaded = {name for replica in self._replicas for name in replica.models}
        await asyncio.to_thread(open_served_copies(self._settings.data.directory).sweep, loaded)

    def submit(self, request: GenerationRequest) -> RemoteGeneration:
        """As every engine; raises ServersUnreachable and SpentForToday as well, which members may read."""
        if not self._is_open:
            raise EngineClosed
        self._spending.require()
        if self._are_all_down():
            raise ServersUnreachable
        require_room(self._waiting, request.lane, self._settings.generation.queue_size)
        blocks = prefix_blocks(served_name(request.adapter) if request.adapter else "", request.prompt)
        generation = RemoteGeneration(request, blocks, lambda _one: self._end(generation, Finish.CANCELLED))
        self._timers[generation] = asyncio.get_running_loop().call_later(
            self._settings.generation.timeout_s, self._end, generation, Finish.TIMEOUT
        )
        self._waiting.append(generation)
        self._settle()
        return generation

    def _are_all_down(self) -> bool:
        now = time.perf_counter()
        return all(replica.is_down(now) for replica in self._replicas)

    def _end(self, generation: RemoteGeneration, finish: Finish) -> None:
        """End an answer early, whether its turn has come or not; closing the connection ends it on the server."""
        if generation.has_ended:
            return
        if generation in self._waiting:
            self._waiting.remove(generation)
        self._complete(generation, finish)
        if generation.task:
            generation.task.cancel()
        self._settle()

    def _complete(self, generation: RemoteGeneration, finish: Finish) -> None:
        if generation.has_ended:
            return
        so_far = generation.answer
        generation.complete(
            finish,
            time.perf_counter(),
            started_at=so_far.started_at if so_far else None,
            first_token_at=so_far.first_token_at if so_far else None,
            prompt_tokens=so_far.prompt_tokens if so_far else 0,
            answer_tokens=so_far.answer_tokens(finish) if so_far else 0,
        )

    def _settle(self) -> None:
        """Give free places to those who wait, and forget what has ended."""
        while (chosen := self._next()) is not None:
            self._begin(*chosen)
        if self._waiting and self._are_all_down():
            for generation in self._waiting:
                generation.fail(ServersUnreachable())
            self._waiting.clear()
        for generation in [one for one in self._timers if one.has_ended]:
            self._timers.pop(generation).cancel()
        if self._timers:
            self._idle.clear()
        else:
            self._idle.set()
        self._set_alarm()

    def _next(self) -> tuple[RemoteGeneration, Replica] | None:
        """Return whose turn it is, of the lane that waits longest its oldest, and where; None without a free place."""
        now, places = time.perf_counter(), self._settings.generation.batch_size
        for one in self._turns.in_order(self._waiting):
            replica = choose_replica(self._replicas, one.blocks, now, places, one.avoided)
            if replica is not None:
                return one, replica
        return None

    def _set_alarm(self) -> None:
        if self._alarm:
            self._alarm.cancel()
        pause_s = next_chance(self._replicas, time.perf_counter()) if self._waiting else None
        self._alarm = asyncio.get_running_loop().call_later(pause_s, self._settle) if pause_s is not None else None

    def _begin(self, generation: RemoteGeneration, replica: Replica) -> None:
        self._waiting.remove(generation)
        self._turns.take(generation.request.lane)
        replica.busy += 1
        replica.beginnings.note(generation.blocks)
        generation.task = _spawn(self._answers, self._serve(generation, replica), f"answer of {replica.server.url}")
        # Not in the task: one that is cancelled before it begins runs none of its lines.
        generation.task.add_done_callback(partial(self._leave, generation, replica))

    def _leave(self, generation: RemoteGeneration, replica: Replica, _task: asyncio.Task[None]) -> None:
        generation.task = None
        replica.busy -= 1
        self._settle()

    async def _serve(self, generation: RemoteGeneration, replica: Replica) -> None:
        assert self._renderer is not None, "nothing is asked for before the start"
        generation.answer = so_far = Answer(generation.request, self._renderer, self._ends, time.perf_counter())
        costs = True
        try:
            await self._spending.look()
            self._spending.require()
            finish = await answer(so_far, generation.extend, replica, self._versions)
        except asyncio.CancelledError:  # it was completed before
            if generation.completion.finish is Finish.TIMEOUT and so_far.model and not so_far.text:
                replica.failed(time.perf_counter(), so_far.started_at)
        except Exception as error:
            costs = bool(so_far.text) or isinstance(error, Slow)
            self._blame(replica, error, so_far.started_at)
            self._fail(generation, replica, error)
        else:
            replica.succeeded()
            self._complete(generation, finish)
        if costs and so_far.model:
            _spawn(self._answers, self._count(replica, so_far), "count tokens")

    async def _count(self, replica: Replica, so_far: Answer) -> None:
        await self._spending.add(replica.server.url, so_far.model, so_far.prompt_tokens, await so_far.billed_tokens())

    def _fail(self, generation: RemoteGeneration, replica: Replica, error: Exception) -> None:
        """Ask another server, or end the answer: with what came where it fell silent, else with why."""
        if generation.has_ended:
            return
        generation.attempts += not isinstance(error, Overloaded)
        if self._can_be_mended(generation, replica, error):
            log.warning("An answer is asked for again: %s.", error)
            generation.avoided.add(replica)
            generation.answer = None
            self._waiting.insert(0, generation)
        elif isinstance(error, Slow):
            log.warning("An answer ends with what it has: %s.", error)
            self._complete(generation, Finish.TIMEOUT)
        else:
            if not isinstance(error, (ServerError, UserFacingError)):
                log.error("an answer failed", exc_info=error)
            generation.fail(error)

    def _can_be_mended(self, generation: RemoteGeneration, replica: Replica, error: Exception) -> bool:
        """Say whether another server, or this one later, may give the answer: not once some of it was shown."""
        if not isinstance(error, ServerError) or (generation.answer and generation.answer.text):
            return False
        if isinstance(error, Refused):
            return error.status in NEEDS_KEY
        if isinstance(error, VersionRefused):
            now = time.perf_counter()
            return any(one not in generation.avoided | {replica} and not one.is_down(now) for one in self._replicas)
        return generation.attempts < MOST_ATTEMPTS

    def _blame(self, replica: Replica, error: Exception, began_at: float) -> None:
        """Note what the end of an answer that began then says of its server."""
        now = time.perf_counter()
        if isinstance(error, Overloaded):
            replica.rest(now, error.retry_after_s)
        elif isinstance(error, Refused) and error.status in NEEDS_KEY:
            replica.lost(problem_of(error))
            log.error("%s.", replica.problem)
        elif isinstance(error, ServerError) and not isinstance(error, (Refused, VersionRefused)):
            replica.failed(now, began_at)
            if isinstance(error, Unreachable) and replica.failures == 1:
                self._look(replica)

    def _look(self, replica: Replica) -> asyncio.Task[None]:
        return _spawn(self._chores, self._watch.look(replica), f"look at {replica.server.url}")


def _spawn(tasks: set[asyncio.Task[None]], work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
    """Begin a task that `tasks` holds until it ends; its failure is logged."""
    task = asyncio.get_running_loop().create_task(work, name=name)
    tasks.add(task)
    task.add_done_callback(tasks.discard)
    task.add_done_callback(_log_failure)
    return task


def _log_failure(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and task.exception() is not None:
        log.error("background task %r failed", task.get_name(), exc_info=task.exception())
