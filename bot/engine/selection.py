"""Chooses the engine: servers if configured, else OpenVINO if it supports the base, else transformers."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from functools import partial

from bot.background import BackgroundTasks
from bot.engine import Engine, EngineState, Wrapper
from bot.engine.openvino.engine import OpenVinoEngine
from bot.engine.remote.engine import RemoteEngine
from bot.engine.rendering import first_prompt, no_room
from bot.engine.stepping_aside import GpuSeat, SteppingAsideEngine
from bot.engine.transformers.engine import LocalEngine
from bot.errors import EngineClosed, EngineStopped, LearningNow
from storage.adapters.folder_store import AdapterRef
from storage.database.database import Database, open_database
from storage.models.base_model import BaseModel, window_of
from storage.models.hardware import describe_unlike, require_quantization
from storage.models.openvino.support import unsupported_because
from storage.models.openvino.verifier import prefers_graphs
from storage.models.seeing import may_see
from storage.settings.sections import Settings

log = logging.getLogger(__name__)


class ChosenEngine(Wrapper):
    """The engine of `model.engine`; rendering waits until it has started."""

    def __init__(
        self,
        settings: Settings,
        base: BaseModel,
        database: Database | None = None,
        tasks: BackgroundTasks | None = None,
    ) -> None:
        """A remote engine counts tokens in `database`, or in one that it opens itself.

        With `database` and `tasks`, an engine on a GPU steps aside for rounds that need it.
        """
        self._settings = settings
        self._base = base
        self._database = database
        self._tasks = tasks
        self._own_database: Database | None = None
        self._has_begun = asyncio.Event()
        """Set once the engine has started or failed to start."""
        self._failure: EngineStopped | None = None
        self._fallback = self._unsupported = ""
        """Reasons why OpenVINO failed although it supports the base, and why it does not support the base."""
        self._may_see = may_see(base.path, settings)
        self._is_closing = False
        self._wanted: list[AdapterRef | None] = []
        """Versions to load as part of the start."""

    @property
    def sees(self) -> bool:
        return self._may_see and (self._engine is None or self._engine.sees)

    def state(self) -> EngineState:
        if self._failure:
            return EngineState(failure_reason=str(self._failure))
        state = self._engine.state() if self._engine else EngineState()
        return replace(state, fallback=self._fallback, unsupported=self._unsupported)

    async def start(self) -> None:
        try:
            await self._choose()
            await self._require_room()
        except Exception as error:
            self._failure = error if isinstance(error, EngineStopped) else EngineStopped(f"no engine starts: {error}")
            raise self._failure from error
        finally:
            self._has_begun.set()

    async def close(self, drain_s: float) -> None:
        self._is_closing = True
        if self._engine:
            await self._engine.close(drain_s)
        if self._own_database:
            self._own_database.close()

    def prepare(self, adapter: AdapterRef | None) -> None:
        if self._engine:
            self._engine.prepare(adapter)
        else:
            self._wanted.append(adapter)

    async def _wait(self) -> None:
        await self._has_begun.wait()
        if self._failure and not self._is_closing:
            raise self._failure

    @property
    def _running(self) -> Engine:
        if self._engine is None or self._is_closing or not self._has_begun.is_set():
            raise EngineClosed
        return self._engine

    async def _choose(self) -> None:
        settings, base = self._settings, self._base
        if settings.model.engine == "remote":
            # No fallback: an operator who configures servers wants their model to answer.
            if self._database is None:
                self._database = self._own_database = await asyncio.to_thread(open_database, settings)
            await self._begin(RemoteEngine(base, settings, self._database))
            return
        require_quantization(settings.model.quantization)
        if await asyncio.to_thread(self._can_use_openvino):
            try:
                await self._begin(OpenVinoEngine(base, settings.data.directory, settings.model, settings.generation))
                return
            except EngineStopped as error:
                if settings.model.engine == "openvino":
                    raise EngineStopped(f'{error}; set model.engine = "transformers"') from error
                self._fallback = str(error)
                log.warning("Answering with transformers: %s", error)
        await self._begin(await self._transformers())

    async def _transformers(self) -> Engine:
        settings = self._settings
        if unlike := describe_unlike(settings):
            log.warning("Checks and answers use different number formats: %s.", unlike)
        make = partial(LocalEngine, self._base.path, settings.model, settings.generation, sees=self._may_see)
        if self._database is None or self._tasks is None:
            return make()
        seat = await asyncio.to_thread(GpuSeat.of_this_bot, self._database, settings.data.directory)
        if seat is None:
            return make()
        return SteppingAsideEngine(make, seat, self._tasks, drain_s=settings.generation.timeout_s)

    async def _require_room(self) -> None:
        """Raise EngineStopped if the system prompt fills the context."""
        if self._engine is None:
            return
        try:
            await self._engine.render(first_prompt(self._settings.chat.system_prompt))
        except LearningNow:
            log.info("The length of chat.system_prompt is not checked: the engine starts when a round has ended.")
        except ValueError as error:
            await self._engine.close(0.0)
            raise EngineStopped(no_room(self._settings, window_of(self._base.path, self._settings.model))) from error

    def _can_use_openvino(self) -> bool:
        """Return whether OpenVINO should answer; with "auto", an unsupported base is not a fault."""
        if not prefers_graphs(self._settings.model):
            return False
        reason = unsupported_because(self._base, self._settings.model)
        if reason and self._settings.model.engine == "auto":
            self._unsupported = reason
            log.info("Answering with transformers: OpenVINO does not support %s (%s).", self._base.name, reason)
            return False
        return True

    async def _begin(self, engine: Engine) -> None:
        if not self._is_closing:
            self._engine = engine
            for adapter in self._wanted:
                engine.prepare(adapter)
            try:
                await engine.start()
            except EngineStopped:
                await engine.close(0.0)  # free the memory of what was loaded
                raise


async def start_engine(settings: Settings, base: BaseModel, *versions: AdapterRef | None) -> Engine:
    """Return the engine of `model.engine`, started with these versions; raises EngineStopped with a remedy."""
    engine = ChosenEngine(settings, base)
    for version in versions:
        engine.prepare(version)
    await engine.start()
    return engine
