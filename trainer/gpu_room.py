"""Makes room for a round on a GPU that a bot's engine uses too."""

from __future__ import annotations

import time
from collections.abc import Sequence

from sqlalchemy.orm import Session

from storage.database.database import Database
from storage.files import read_json_object
from storage.models.base_model import CONFIG_FILE, BaseModel
from storage.models.gpus import Gpu, own_gpus
from storage.models.hardware import serving_format, training_format
from storage.models.shape import NUMBER_BYTES, language_config
from storage.runtime.gpu_use import GpuUse, leave_gpus, renew_gpus, take_gpus, users_of_gpu
from storage.runtime.processes import Heartbeat, worker_name
from storage.settings.sections import Settings, TrainingSettings
from storage.wording import duration
from trainer.errors import TrainerError
from trainer.progress import Phase, ReportProgress, RoundProgress

POLL_S = 1.0
PATIENCE_S = 600.0
"""How long engines may take to finish their answers and leave."""
LARGEST_TREE = 2_048
"""Tokens that are trained on at once, at most: those of one prompt's answers."""
NF4_BYTES = 0.7
"""Bytes a number with 4 bits, embeddings and head in 16 bits included."""
BESIDES = 2 * 2**30
"""PyTorch's own memory, the adapter with its optimiser, logits, and the coherence model."""


def make_room(database: Database, settings: Settings, base: BaseModel, report: ReportProgress) -> None:
    """Ask the engines on this round's GPUs to step aside, and wait until they have; do nothing if both fit.

    They stay away until the trainer leaves the GPUs or falls silent. Call it before a model is loaded; it can be called
    again. Raises TrainerError if an engine stays.
    """
    gpus = own_gpus(settings.training.processes)
    crowded = [gpu.mark for gpu in gpus if not _both_fit(database, settings, base, gpu)]
    if not crowded:
        return
    # Asked before looking: an engine that starts at the same moment sees the round, or the round sees it.
    database.call(take_gpus, GpuUse.ROUND, crowded, worker_name(settings.data.directory))
    give_up_at = time.monotonic() + PATIENCE_S
    while engines := database.fetch(_engines_on, crowded):
        report(RoundProgress(Phase.WAITING))
        if time.monotonic() > give_up_at:
            raise TrainerError(
                f"the bot at {engines[0].place} did not leave the GPU within {duration(PATIENCE_S)}, and this round "
                "needs the memory: restart that bot, then start a new round"
            )
        time.sleep(POLL_S)


def keep_room(session: Session, worker: str) -> None:
    """Keep the engines away for another SILENT_AFTER_S seconds from what `make_room` took."""
    renew_gpus(session, GpuUse.ROUND, worker)


def give_room_back(session: Session, worker: str) -> None:
    """Let the engines come back."""
    leave_gpus(session, GpuUse.ROUND, worker)


def _engines_on(session: Session, gpus: Sequence[str]) -> list[Heartbeat]:
    return [engine for gpu in gpus for engine in users_of_gpu(session, GpuUse.ENGINE, gpu)]


def _both_fit(database: Database, settings: Settings, base: BaseModel, gpu: Gpu) -> bool:
    """Return whether the round fits beside the engine that uses the GPU, or beside one that starts during the round."""
    if database.fetch(_engines_on, [gpu.mark]):
        return memory_needed(base, settings.training) <= gpu.free_bytes
    served = weight_bytes(base, settings.model.quantization, serving_format(settings.model))
    return memory_needed(base, settings.training) + served <= gpu.free_bytes


def memory_needed(base: BaseModel, training: TrainingSettings) -> int:
    """Return the bytes of GPU memory that a round takes at its peak: weights, and the activations of its largest tree.

    A layer keeps about 8 numbers of the hidden size and 4 of the intermediate size for each token.
    """
    computed = training_format(training)
    text = language_config(read_json_object(base.path / CONFIG_FILE))
    hidden = int(text["hidden_size"])
    kept = 8 * hidden + 4 * int(text.get("intermediate_size") or 4 * hidden)
    activations = LARGEST_TREE * int(text["num_hidden_layers"]) * kept * NUMBER_BYTES[computed]
    return weight_bytes(base, training.quantization, computed) + activations + BESIDES


def weight_bytes(base: BaseModel, quantization: str, dtype: str) -> int:
    """Return the bytes of the base's weights in that format; its files have 2 bytes a number, or are taken for such."""
    numbers = sum(file.stat().st_size for file in base.path.glob("*.safetensors")) / 2
    return round(numbers * (NF4_BYTES if quantization else NUMBER_BYTES[dtype]))
