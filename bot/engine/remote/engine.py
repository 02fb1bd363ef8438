"""The engine that uses a server: queues answers, requests them, and asks again where nothing was shown yet."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from functools import partial

import aiohttp

from bot.background import BackgroundTasks
from bot.engine import EngineState, Finish, GenerationRequest
from bot.engine.queue import QueueingEngine
from bot.engine.refusals import Refusal, RefusedVersions
from bot.engine.remote.adapter_loading import Versions, versions_of
from bot.engine.remote.completion import RemoteGeneration, Spending
from bot.engine.rendering import load_renderer
from bot.errors import EngineClosed, ServersUnreachable
from bot.model_server import (
    NEEDS_KEY,
    Overloaded,
    Refused,
    RefusedByServer,
    Server,
    ServerError,
    open_session,
    problem_of,
    served_models,
)
from storage.adapters.folder_store import AdapterRef
from storage.adapters.shared_store import open_served_copies
from storage.database.database import Database
from storage.models.base_model import BaseModel
from storage.settings.sections import Settings

log = logging.getLogger(__name__)

MOST_ATTEMPTS = 3
"""Attempts before an answer fails; those at an overloaded server do not count."""
LOOK_AGAIN_S = 5.0
"""Pause between two checks of a server that cannot answer."""


class RemoteEngine(QueueingEngine[RemoteGeneration]):
    """Starts an answer as soon as one of `generation.batch_size` places is free; lanes take turns.

    It knows one address. Spreading answers over several servers is the work of a router at that address.
    """

    def __init__(self, base: BaseModel, settings: Settings, database: Database) -> None:
        super().__init__(settings.generation)
        self._base = base
        self._settings = settings
        self._remote = settings.remote
        self._spending = Spending(database, settings.remote)
        self._versions: Versions | None = None
        """The server and its versions, once the engine has started."""
        self._problem: str | None = "the remote engine is not started"
        """The reason why the server cannot answer; None if it can."""
        self._wanted: list[AdapterRef | None] = []
        """Versions to load as part of the start."""
        self._running = 0
        self._answers = BackgroundTasks()
        """Answers in progress, and the counting of their tokens: closing waits for them."""
        self._chores = BackgroundTasks()
        """Checks of the server, and versions loaded ahead: closing cancels them."""
        self._watch: asyncio.Task[None] | None = None
        """Looks for the server while it cannot answer."""
        self._refused = RefusedVersions()
        self._session: aiohttp.ClientSession | None = None

    def state(self) -> EngineState:
        loaded = len(self._versions.loaded) if self._versions else 0
        reason = "" if self._is_closing else self._problem or ""
        return EngineState(loaded, reason, name="the remote engine", refused_versions=self._refused.describe())

    async def start(self) -> None:
        """Read the tokenizer and check the server once; it may become available later."""
        renderer = await asyncio.to_thread(load_renderer, self._base.path, self._settings.model, self._generation)
        self._renderer = renderer
        if self._is_closing:
            return
        self._session = open_session(self._settings.remote_api_key, self._remote)
        server = Server(self._remote.url, self._session, self._remote)
        self._versions = versions_of(server, self._settings, renderer.ids)
        await asyncio.gather(self._spending.exchange(), self._check(self._versions))
        if self._is_closing:
            return
        self._chores.spawn(self._remove_unused_copies(self._versions.models), "remove unused copies of versions")
        self._is_open = True
        for adapter in self._wanted:
            self.prepare(adapter)
        self._settle()

    async def close(self, drain_s: float) -> None:
        await self._drain(drain_s)
        self._chores.cancel()
        await self._chores.finish()
        await self._answers.finish()
        if self._session is not None:
            await self._session.close()

    def prepare(self, adapter: AdapterRef | None) -> None:
        """Make the server load the version, if it can answer; else the version is loaded when it is first requested."""
        if self._versions is None:
            self._wanted.append(adapter)
        elif adapter is not None and self._problem is None and not self._is_closing:
            self._chores.spawn(self._prepare(self._versions, adapter), "prepare a version")

    async def _prepare(self, versions: Versions, adapter: AdapterRef) -> None:
        try:
            async with versions.naming(adapter):
                pass
        except ServerError as error:
            log.warning("A version could not be loaded ahead: %s", error)
            self._note_refusal(adapter, error)
        else:
            self._refused.clear(adapter)

    def refusal_of(self, adapter: AdapterRef | None) -> Refusal | None:
        return self._refused.recent(adapter) if self._problem is None else None

    def _note_refusal(self, adapter: AdapterRef | None, error: Exception) -> None:
        if isinstance(error, RefusedByServer):
            self._refused.note(adapter, str(error), may_pass=error.may_pass)

    async def _remove_unused_copies(self, loaded: Sequence[str]) -> None:
        await asyncio.to_thread(open_served_copies(self._settings.data.directory).sweep, loaded)

    def submit(self, request: GenerationRequest) -> RemoteGeneration:
        """Like every engine; also raises ServersUnreachable and SpentForToday."""
        if not self._is_open:
            raise EngineClosed
        self._spending.require()
        if self._problem is not None:
            raise ServersUnreachable
        return self._queue(RemoteGeneration(request, self._cancel))

    def _interrupt(self, generation: RemoteGeneration, finish: Finish) -> None:
        generation.end(finish)
        if generation.task:
            generation.task.cancel()  # this closes the connection, which ends the answer on the server

    def _start_waiting(self) -> None:
        if self._problem is not None:
            for generation in self._waiting:
                generation.fail(ServersUnreachable())
            self._waiting.clear()
        while self._waiting and self._versions and self._running < self._generation.batch_size:
            generation = self._turns.in_order(self._waiting)[0]
            self._waiting.remove(generation)
            self._turns.take(generation.request.lane)
            self._running += 1
            generation.task = self._answers.spawn(self._serve(generation, self._versions), "answer of the server")
            # Not in the task: a task that is cancelled before it starts runs none of its code.
            generation.task.add_done_callback(partial(self._leave, generation))

    def _leave(self, generation: RemoteGeneration, _task: asyncio.Task[None]) -> None:
        generation.task = None
        self._running -= 1
        self._settle()

    async def _serve(self, generation: RemoteGeneration, versions: Versions) -> None:
        """Attempt the answer until it ends; one that members have read a part of is not attempted again."""
        failures = 0
        while (error := await self._attempt(generation, versions)) is not None:
            if isinstance(error, Overloaded):
                await asyncio.sleep(error.retry_after_s)
                continue
            failures += 1
            self._note_refusal(generation.request.adapter, error)
            await self._learn_from(error, versions)
            if isinstance(error, ServerError) and self._problem is not None and not generation.has_shown:
                generation.fail(ServersUnreachable())
            elif failures == MOST_ATTEMPTS or not generation.may_repeat(error):
                generation.give_up(error)
            else:
                log.warning("An answer is requested again: %s", error)
                continue
            return

    async def _attempt(self, generation: RemoteGeneration, versions: Versions) -> Exception | None:
        """Request the answer once, and return the error if it fails."""
        assert self._renderer is not None, "requests are accepted only after the start"
        so_far, is_billed = generation.attempt(self._renderer), True
        try:
            await self._spending.exchange()
            self._spending.require()
            finish = await so_far.fetch(generation.extend, versions)
        except asyncio.CancelledError:  # the answer was completed before that
            is_billed = bool(so_far.model)
            raise
        except Exception as error:
            is_billed = so_far.is_billed(error)
            return error
        else:
            self._refused.clear(generation.request.adapter)
            generation.end(finish)
            return None
        finally:
            if is_billed:
                self._answers.spawn(so_far.bill(self._spending, versions.server.url), "count tokens")

    async def _learn_from(self, error: Exception, versions: Versions) -> None:
        """Find out whether the server can answer at all, after an answer has failed."""
        if isinstance(error, Refused) and error.status in NEEDS_KEY:
            self._lose(problem_of(error), versions)
        elif isinstance(error, ServerError) and not isinstance(error, (Refused, RefusedByServer)):
            await self._check(versions)

    async def _check(self, versions: Versions) -> None:
        """Ask the server whether it can answer; if it cannot, ask again until it can."""
        try:
            models = await served_models(versions.server, self._remote)
        except Overloaded:
            models = versions.models
        except ServerError as error:
            self._lose(problem_of(error), versions)
            return
        if self._problem is not None:
            self._problem = None
            versions.found(models)
            log.info("%s answers; models: %s.", versions.server.url, ", ".join(models) or "none listed")

    def _lose(self, problem: str, versions: Versions) -> None:
        if self._is_closing:
            return
        if problem != self._problem:
            self._problem = problem
            log.warning("Model server lost: %s", problem)
        if self._watch is None or self._watch.done():
            self._watch = self._chores.spawn(self._look_until_found(versions), "look for the model server")
        self._settle()

    async def _look_until_found(self, versions: Versions) -> None:
        while self._problem is not None:
            await asyncio.sleep(LOOK_AGAIN_S)
            await self._check(versions)
