"""The engine that uses servers: queues answers, assigns them to servers, and retries those that a server fails."""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import replace
from functools import partial

import aiohttp

from bot.background import BackgroundTasks
from bot.engine import EngineState, Finish, GenerationRequest
from bot.engine.queue import QueueingEngine
from bot.engine.refusals import Refusal, RefusedVersions
from bot.engine.remote.adapter_loading import versions_of
from bot.engine.remote.completion import RemoteGeneration, Spending
from bot.engine.remote.replicas import Replica, check_health, choose_replica, next_chance, prefix_blocks, watch_health
from bot.engine.remote.server import RefusedByServer, Server, ServerError, open_session
from bot.engine.rendering import load_renderer
from bot.errors import EngineClosed, ServersUnreachable
from storage.adapters.folder_store import AdapterRef
from storage.adapters.shared_store import open_served_copies
from storage.database.database import Database
from storage.models.base_model import BaseModel
from storage.settings.sections import Settings

log = logging.getLogger(__name__)


class RemoteEngine(QueueingEngine[RemoteGeneration]):
    """Starts an answer as soon as a server has one of its `generation.batch_size` places free; lanes take turns.

    A conversation goes to the server that has read its start, other prompts to the idlest server. If a server fails,
    another one gets the request, unless part of the answer was already shown.
    """

    def __init__(self, base: BaseModel, settings: Settings, database: Database) -> None:
        super().__init__(settings.generation)
        self._base = base
        self._settings = settings
        self._remote = settings.remote
        self._versions = versions_of(settings, self._encode)
        self._spending = Spending(database, settings.remote)
        self._replicas: list[Replica] = []
        self._wanted: list[AdapterRef | None] = []
        """Versions to load as part of the start."""
        self._answers = BackgroundTasks()
        """Answers in progress, and the counting of their tokens: closing waits for them."""
        self._chores = BackgroundTasks()
        """Health checks, and versions loaded ahead: closing cancels them."""
        self._refused = RefusedVersions()
        self._alarm: asyncio.TimerHandle | None = None
        """Fires when a server's rest is over."""
        self._session: aiohttp.ClientSession | None = None

    def state(self) -> EngineState:
        loaded = {name for replica in self._replicas for name in replica.loaded}
        state = EngineState(len(loaded), name="the remote engine", refused_versions=self._refused.describe())
        if not self._is_open:
            return replace(state, failure_reason="" if self._is_closing else "the remote engine is not started")
        problems = [one.problem for one in self._replicas if one.problem is not None]
        described = "; ".join(problems)
        can_answer = len(problems) < len(self._replicas)
        return replace(state, degraded_reason=described) if can_answer else replace(state, failure_reason=described)

    def _encode(self, text: str) -> list[int]:
        assert self._renderer is not None, "versions are loaded only after the start"
        return self._renderer.ids(text)

    async def start(self) -> None:
        """Read the tokenizer and check the servers once; unreachable ones may become available later."""
        self._renderer = await asyncio.to_thread(load_renderer, self._base.path, self._settings.model, self._generation)
        if self._is_closing:
            return
        self._session = session = open_session(self._settings.remote_api_key, self._remote)
        self._replicas = [Replica(Server(url, session, self._remote)) for url in self._remote.servers]
        checks = [self._check_soon(replica) for replica in self._replicas]
        await asyncio.gather(self._spending.exchange(), *checks, return_exceptions=True)
        if self._is_closing:
            return
        for replica in self._replicas:
            watching = watch_health(replica, self._remote.health_interval_s, self._check)
            self._chores.spawn(watching, f"watch {replica.server.url}")
        self._chores.spawn(self._remove_unused_copies(), "remove unused copies of versions")
        self._is_open = True
        for adapter in self._wanted:
            self.prepare(adapter)
        self._settle()

    async def close(self, drain_s: float) -> None:
        await self._drain(drain_s)
        self._chores.cancel()
        await self._chores.finish()
        await self._answers.finish()
        if self._alarm:
            self._alarm.cancel()
        if self._session is not None:
            await self._session.close()

    def prepare(self, adapter: AdapterRef | None) -> None:
        """Make every healthy server load the version; others load it when it is first requested."""
        if not self._replicas:
            self._wanted.append(adapter)
        elif adapter is not None and not self._is_closing:
            for replica in self._replicas:
                if replica.problem is None:
                    self._chores.spawn(self._prepare(replica, adapter), f"prepare a version on {replica.server.url}")

    async def _prepare(self, replica: Replica, adapter: AdapterRef) -> None:
        try:
            async with self._versions.naming(replica, adapter):
                pass
        except ServerError as error:
            log.warning("A version could not be loaded ahead: %s", error)
            self._note_refusal(replica, adapter, error)
        else:
            self._refused.clear((replica.server.url, adapter))

    def refusal_of(self, adapter: AdapterRef | None) -> Refusal | None:
        """Return why no server that can be reached answers with the version, if so."""
        reached = [one.server.url for one in self._replicas if one.problem is None]
        refusals = [one for url in reached if (one := self._refused.recent((url, adapter)))]
        if not reached or len(refusals) < len(reached):
            return None
        return Refusal("; ".join(one.reason for one in refusals), any(one.may_pass for one in refusals))

    def _note_refusal(self, replica: Replica, adapter: AdapterRef | None, error: Exception) -> None:
        if isinstance(error, RefusedByServer):
            self._refused.note((replica.server.url, adapter), str(error), may_pass=error.may_pass)

    async def _remove_unused_copies(self) -> None:
        loaded = {name for replica in self._replicas for name in replica.models}
        await asyncio.to_thread(open_served_copies(self._settings.data.directory).sweep, loaded)

    def submit(self, request: GenerationRequest) -> RemoteGeneration:
        """Like every engine; also raises ServersUnreachable and SpentForToday."""
        if not self._is_open:
            raise EngineClosed
        self._spending.require()
        if self._are_all_down():
            raise ServersUnreachable
        blocks = prefix_blocks(request.adapter, request.prompt)
        return self._queue(RemoteGeneration(request, blocks, self._cancel))

    def _are_all_down(self) -> bool:
        now = time.perf_counter()
        return all(replica.is_down(now) for replica in self._replicas)

    def _interrupt(self, generation: RemoteGeneration, finish: Finish) -> None:
        generation.end(finish)
        if generation.task:
            generation.task.cancel()  # this closes the connection, which ends the answer on the server

    def _start_waiting(self) -> None:
        while (chosen := self._next()) is not None:
            self._begin(*chosen)
        if self._waiting and self._are_all_down():
            for generation in self._waiting:
                generation.fail(ServersUnreachable())
            self._waiting.clear()
        self._set_alarm()

    def _next(self) -> tuple[RemoteGeneration, Replica] | None:
        """Return the oldest request of the lane that has waited longest, and its server; None if none is free."""
        now, places = time.perf_counter(), self._generation.batch_size
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
        generation.task = self._answers.spawn(self._serve(generation, replica), f"answer of {replica.server.url}")
        # Not in the task: a task that is cancelled before it starts runs none of its code.
        generation.task.add_done_callback(partial(self._leave, generation, replica))

    def _leave(self, generation: RemoteGeneration, replica: Replica, _task: asyncio.Task[None]) -> None:
        generation.task = None
        replica.busy -= 1
        self._settle()

    async def _serve(self, generation: RemoteGeneration, replica: Replica) -> None:
        assert self._renderer is not None, "requests are accepted only after the start"
        so_far = generation.attempt(self._renderer)
        is_billed = True
        try:
            await self._spending.exchange()
            self._spending.require()
            finish = await so_far.fetch(generation.extend, replica, self._versions)
        except asyncio.CancelledError:  # the answer was completed before that
            is_billed = bool(so_far.model)
            if generation.completion.finish is Finish.TIMEOUT and so_far.model and not so_far.has_heard:
                replica.failed(time.perf_counter(), so_far.started_at)
        except Exception as error:
            is_billed = so_far.is_billed(error)
            if replica.blame(error, so_far.started_at):
                self._check_soon(replica)
            self._note_refusal(replica, generation.request.adapter, error)
            self._fail(generation, replica, error)
        else:
            replica.succeeded()
            self._refused.clear((replica.server.url, generation.request.adapter))
            generation.end(finish)
        if is_billed:
            self._answers.spawn(so_far.bill(self._spending, replica.server.url), "count tokens")

    def _fail(self, generation: RemoteGeneration, replica: Replica, error: Exception) -> None:
        if generation.has_ended:
            return
        if generation.take_back(replica, error, self._replicas):
            self._waiting.insert(0, generation)
        else:
            generation.give_up(error)

    def _check_soon(self, replica: Replica) -> asyncio.Task[None]:
        return self._chores.spawn(self._check(replica), f"check {replica.server.url}")

    async def _check(self, replica: Replica) -> None:
        has_changed = await check_health(replica, self._remote)
        self._versions.noticed(replica)
        if has_changed:
            self._settle()
