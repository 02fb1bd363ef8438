"""A bot's place on a GPU whose memory a training round may need for itself."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from sqlalchemy.orm import Session

from storage.database.columns import utc_now
from storage.database.database import Database
from storage.models.gpus import own_gpus
from storage.runtime.gpu_use import GpuUse, leave_gpus, renew_gpus, take_gpus, users_of_gpu
from storage.runtime.processes import worker_name
from storage.training.rounds import expected_end


@dataclass(frozen=True)
class RoundOnGpu:
    """A round that needs the GPU."""

    ends_at: datetime | None
    """By how long others took; None if nobody knows."""

    @property
    def seconds_left(self) -> float | None:
        """None if it takes longer than others, or nobody knows."""
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
