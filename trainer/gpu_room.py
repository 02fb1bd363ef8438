"""Makes room for a round on a GPU that a bot's engine uses too."""

from __future__ import annotations

import time
from collections.abc import Sequence
from math import ceil

from sqlalchemy.orm import Session

from storage.database.database import Database
from storage.models.base_model import BaseModel
from storage.models.free_memory import gpu_memory
from storage.models.gpus import Gpu, own_gpus
from storage.models.shape import known_shape
from storage.runtime.gpu_use import GpuUse, leave_gpus, renew_gpus, take_gpus, users_of_gpu
from storage.runtime.processes import Heartbeat, worker_name
from storage.settings.sections import Settings
from storage.wording import Duration, gettext_noop
from trainer.errors import TrainerError
from trainer.gpu_sizes import answering_room, memory_needed
from trainer.progress import Phase, ReportProgress, RoundProgress

POLL_S = 1.0
PATIENCE_S = 600.0
"""How long engines may take to finish their answers and leave."""


def shares_gpu(database: Database, settings: Settings) -> bool:
    """Return whether an engine uses a GPU of this round now."""
    return bool(database.fetch(_engines_on, [gpu.mark for gpu in own_gpus(settings.training.processes)]))


def make_room(database: Database, settings: Settings, base: BaseModel, report: ReportProgress) -> int:
    """Ask the engines on this round's GPUs to step aside, and wait until they have; do nothing if both fit.

    Return the bytes of each GPU that the round must leave to an engine that fits beside it.

    They stay away until the trainer leaves the GPUs or falls silent. Call it before a model is loaded; it can be called
    again. Raises TrainerError if an engine stays.
    """
    gpus = own_gpus(settings.training.processes)
    beside = {gpu.mark: _room_beside(database, settings, base, gpu) for gpu in gpus}
    reserved = max((room for room in beside.values() if room is not None), default=0)
    crowded = [mark for mark, room in beside.items() if room is None]
    if not crowded:
        return reserved
    # Asked before looking: an engine that starts at the same moment sees the round, or the round sees it.
    database.call(take_gpus, GpuUse.ROUND, crowded, worker_name(settings.data.directory))
    give_up_at = time.monotonic() + PATIENCE_S
    while engines := database.fetch(_engines_on, crowded):
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
    return reserved


def keep_room(session: Session, worker: str) -> None:
    """Keep the engines away for another SILENT_AFTER_S seconds from what `make_room` took."""
    renew_gpus(session, GpuUse.ROUND, worker)


def give_room_back(session: Session, worker: str) -> None:
    """Let the engines come back."""
    leave_gpus(session, GpuUse.ROUND, worker)


def _engines_on(session: Session, gpus: Sequence[str]) -> list[Heartbeat]:
    return [engine for gpu in gpus for engine in users_of_gpu(session, GpuUse.ENGINE, gpu)]


def _room_beside(database: Database, settings: Settings, base: BaseModel, gpu: Gpu) -> int | None:
    """Return what the engine that uses the GPU, or one that starts during the round, may still take; None: no room."""
    shape = known_shape(base.path)
    if shape is None:
        return None
    is_loaded = bool(database.fetch(_engines_on, [gpu.mark]))
    room = ceil(answering_room(shape, settings, is_loaded=is_loaded))
    return room if memory_needed(shape, settings) + room <= gpu_memory(gpu.number).free else None
