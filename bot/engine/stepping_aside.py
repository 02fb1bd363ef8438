"""An engine that leaves the GPU while a training round needs its memory, and comes back by itself."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from sqlalchemy.orm import Session

from bot.background import BackgroundTasks
from bot.engine import Engine, EngineState, Wrapper
from bot.errors import EngineClosed, EngineStopped, LearningNow
from storage.adapters.folder_store import AdapterRef
from storage.database.columns import utc_now
from storage.database.database import Database
from storage.database.engine import FAILURES
from storage.models.hardware import free_unused_models, own_gpus
from storage.runtime.processes import HEARTBEAT_S, GpuUse, leave_gpus, renew_gpus, take_gpus, users_of_gpu, worker_name
from storage.training.rounds import expected_end

log = logging.getLogger(__name__)

PAUSED = "a training round uses the GPU; the engine comes back when it has ended"
RETURNING = "the model is loading again after a training round"


@dataclass(frozen=True)
class RoundOnGpu:
    """A round that needs the GPU."""

    ends_at: datetime | None
    """Expected end, by the time that earlier rounds took; None if unknown."""

    @property
    def seconds_left(self) -> float | None:
        """Seconds until the expected end; None if the round takes longer than earlier ones, or if unknown."""
        left = (self.ends_at - utc_now()).total_seconds() if self.ends_at else 0.0
        return left if left > 0 else None


class GpuSeat:
    """Taken while the engine's model is in the GPU's memory, or about to be: rounds wait until it is free."""

    def __init__(self, database: Database, worker: str, gpu: str) -> None:
        """`worker` names this bot, and `gpu` the GPU by its mark."""
        self._database = database
        self._worker = worker
        self._gpu = gpu

    @classmethod
    def of_this_bot(cls, database: Database, data_directory: Path) -> GpuSeat | None:
        """Return the seat on this process's GPU, or None without one."""
        gpus = own_gpus(1)
        return cls(database, worker_name(data_directory), gpus[0].mark) if gpus else None

    async def take(self) -> RoundOnGpu | None:
        """Take the seat and return None; if a round needs the GPU, return that instead."""
        # Taken before looking: a round that looks at the same moment sees us, or we see it.
        await self._database.run(take_gpus, GpuUse.ENGINE, [self._gpu], self._worker)
        needed = await self.needed()
        if needed:
            await self.leave()
        return needed

    async def needed(self) -> RoundOnGpu | None:
        """Return the round that needs the GPU, or None."""
        return await self._database.read(_find_round, self._gpu)

    async def renew(self) -> None:
        """Keep the seat, if it is taken."""
        await self._database.run(renew_gpus, GpuUse.ENGINE, self._worker)

    async def leave(self) -> None:
        await self._database.run(leave_gpus, GpuUse.ENGINE, self._worker)


def _find_round(session: Session, gpu: str) -> RoundOnGpu | None:
    return RoundOnGpu(expected_end(session)) if users_of_gpu(session, GpuUse.ROUND, gpu) else None


class SteppingAsideEngine(Wrapper):
    """Runs another engine, except while a round needs the GPU: then members are told when to ask again."""

    def __init__(
        self, make_engine: Callable[[], Engine], seat: GpuSeat, tasks: BackgroundTasks, *, drain_s: float
    ) -> None:
        """`drain_s` is the time that accepted answers get before a round gets the GPU."""
        self._make_engine = make_engine
        self._seat = seat
        self._tasks = tasks
        self._drain_s = drain_s
        self._round: RoundOnGpu | None = None
        """The round for which this engine is leaving the GPU, or has left it."""
        self._failure = ""
        """The reason why the model could not be loaded again. The error itself would keep what was loaded of it."""
        self._is_settled = asyncio.Event()
        """Set while the model is not loading."""
        self._watching: list[asyncio.Task[None]] = []
        self._is_closing = False

    @property
    def sees(self) -> bool:
        return self._engine is None or self._engine.sees

    def state(self) -> EngineState:
        if self._failure:
            return EngineState(failure_reason=self._failure, name="transformers")
        if self._round or self._engine is None or not self._is_settled.is_set():
            return EngineState(pause_reason=PAUSED if self._round else RETURNING, name="transformers")
        return self._engine.state()

    async def start(self) -> None:
        self._watching = [self._tasks.repeat(self._seat.renew, HEARTBEAT_S, "say that the GPU is in use")]
        self._round = await self._seat.take()
        if self._round is None:
            await self._load()
        else:
            log.info("The engine starts later: %s.", PAUSED)
            self._is_settled.set()
        if not self._is_closing:
            self._watching.append(self._tasks.repeat(self._follow_rounds, HEARTBEAT_S, "look for rounds on the GPU"))

    async def close(self, drain_s: float) -> None:
        self._is_closing = True
        for task in self._watching:
            task.cancel()
        if self._engine:
            await self._engine.close(drain_s)
        with suppress(*FAILURES):  # the seat is free soon by itself
            await self._seat.leave()

    def prepare(self, adapter: AdapterRef | None) -> None:
        if self._engine:
            self._engine.prepare(adapter)

    async def _wait(self) -> None:
        """Wait while the model is being loaded again; return at once during a round."""
        if self._round is None:
            await self._is_settled.wait()

    @property
    def _running(self) -> Engine:
        if self._round:
            raise LearningNow(self._round.seconds_left)
        if self._failure:
            raise EngineStopped(self._failure)
        if self._engine is None:
            raise EngineClosed
        return self._engine

    async def _follow_rounds(self) -> None:
        needed = await self._seat.needed()
        if needed:
            self._round = needed
            await self._step_aside()
        elif self._engine is None:
            await self._come_back()

    async def _step_aside(self) -> None:
        """Finish the accepted answers, free the memory and say so."""
        if self._engine is not None:
            log.info("A training round needs the GPU: the engine finishes its answers and steps aside.")
            await self._engine.close(self._drain_s)
            self._engine = None
            await asyncio.to_thread(free_unused_models)
            log.info("The engine has stepped aside until the round ends.")
        await self._seat.leave()  # again at each turn: if the database failed, the round still waits for it

    async def _come_back(self) -> None:
        self._round = await self._seat.take()
        if self._round:
            return
        try:
            await self._load()
        except EngineStopped as error:
            reason = str(error)
            if not self._failure:
                log.error("The engine cannot come back after a round (%s); it tries again and again.", reason)
            self._failure = reason
        else:
            self._failure = ""
            log.info("The round has ended, so the engine answers again.")
            return
        await asyncio.to_thread(free_unused_models)

    async def _load(self) -> None:
        if self._is_closing:  # it was closed while it took the seat: nobody would close the model any more
            self._is_settled.set()
            await self._seat.leave()
            return
        self._is_settled.clear()
        self._engine = self._make_engine()
        try:
            await self._engine.start()
        except EngineStopped:
            await self._engine.close(0.0)
            self._engine = None
            await self._seat.leave()
            raise
        finally:
            self._is_settled.set()
