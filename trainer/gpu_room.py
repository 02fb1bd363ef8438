"""Makes room for a round on a GPU that a bot's engine uses too."""

from __future__ import annotations

import time
from collections.abc import Sequence

from sqlalchemy.orm import Session

from storage.database.database import Database
from storage.models.hardware import own_gpus
from storage.runtime.processes import GpuUse, Heartbeat, take_gpus, users_of_gpu
from storage.wording import Duration, gettext_noop
from trainer.errors import TrainerError
from trainer.progress import Phase, ReportProgress, RoundProgress

POLL_S = 1.0
PATIENCE_S = 600.0
"""Longest time that engines may take to finish their answers and leave."""


def shares_gpu(database: Database, processes: int) -> bool:
    """Return whether an engine uses a GPU of a round with so many processes now."""
    return bool(database.fetch(_engines_on, [gpu.mark for gpu in own_gpus(processes)]))


def make_room(database: Database, processes: int, worker: str, report: ReportProgress) -> None:
    """Ask the engines on this round's GPUs to step aside, and wait until they have.

    They stay away until the trainer `worker` leaves the GPUs or falls silent. Call it before a model is loaded; it can
    be called again. Raises TrainerError if an engine stays.
    """
    gpus = [gpu.mark for gpu in own_gpus(processes)]
    # Asked before looking: an engine that starts at the same moment sees the round, or the round sees it.
    database.call(take_gpus, GpuUse.ROUND, gpus, worker)
    give_up_at = time.monotonic() + PATIENCE_S
    while engines := database.fetch(_engines_on, gpus):
        report(RoundProgress(Phase.WAITING))
        if time.monotonic() > give_up_at:
            raise TrainerError(
                gettext_noop(
                    "the bot at {place} did not leave the GPU within {time}, and this round needs the memory: restart "
                    "that bot, then start a new round"
                ),
                place=engines[0].place,
                time=Duration(PATIENCE_S),
            )
        time.sleep(POLL_S)


def _engines_on(session: Session, gpus: Sequence[str]) -> list[Heartbeat]:
    return [engine for gpu in gpus for engine in users_of_gpu(session, GpuUse.ENGINE, gpu)]
