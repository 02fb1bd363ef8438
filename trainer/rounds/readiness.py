"""Checks that this machine can run a round, and chooses how much it computes at once."""

from __future__ import annotations

import logging
from dataclasses import replace

from sqlalchemy.orm import Session

from storage.models.base_model import BaseModel, require_full_weights, resolve_base_model
from storage.models.free_memory import FreeMemory, memory_for_training
from storage.models.hardware import require_training
from storage.models.memory import MARGIN, round_bytes
from storage.releases.bases import base_in_use
from storage.sentences import Sentence
from storage.settings.sections import Settings, TrainingSettings
from storage.wording import format_bytes
from trainer.base import RoundBase
from trainer.data.dataset import TrainingSet
from trainer.errors import TooLittleMemory
from trainer.training.memory_plan import plan_after

NO_ESTIMATE = "needs an amount of memory that cannot be estimated for this base model"
MAY_FAIL_ONCE = "if memory runs out, the next round computes less at once"
ROOMY_TIMES = 8
"""Multiple of a round's memory from which a GPU computes long trees. With the known bases these took at most 7 times as
much, by formulas of activations that are gone; no GPU was measured."""

log = logging.getLogger(__name__)


def ready_base(settings: Settings, *, engine_leaves: bool) -> RoundBase:
    """Return the base if this machine can train it; raises BaseModelError, SettingsError and TooLittleMemory."""
    require_training(settings.training)
    base = resolve_base_model(settings.model.base, settings.data.directory, log.info)
    require_full_weights(base.path)
    ready = RoundBase(base, settings.model)
    memory = memory_of_round(settings.training, engine_leaves=engine_leaves)
    log.info("A round %s.", check_round_memory(ready, settings.training, memory))
    return ready


def other_base(session: Session, base: BaseModel) -> Sentence | None:
    """Return why this trainer cannot train if the bot uses another base."""
    used = base_in_use(session)
    if used is None or used.revision == base.revision:
        return None
    return Sentence(
        "{used} answers, but this trainer has {base}: start the bot and the trainer again after model.base was "
        "changed, or set model.base on the trainer's host to the bot's",
        used=f"{used.name} ({used.revision})",
        base=f"{base.name} ({base.revision})",
    )


def memory_of_round(training: TrainingSettings, *, engine_leaves: bool) -> FreeMemory:
    """Return the memory that one training process may use.

    With `engine_leaves`, a bot's engine is on the GPU and steps aside for the round, so all of its memory counts.
    """
    memory = memory_for_training()
    # Each process has a GPU of its own; on a CPU all share the memory.
    shares = 1 if memory.is_gpu else training.processes
    return replace(memory, free=(memory.total if engine_leaves else memory.free) // shares)


def check_round_memory(base: RoundBase, training: TrainingSettings, memory: FreeMemory) -> str:
    """Return a sentence on the memory that a round needs, or that it cannot be estimated.

    Raises TooLittleMemory if the estimate does not even fit without its margin.
    """
    if base.shape is None:
        return NO_ESTIMATE
    needed = round_bytes(base.shape, base.served, training)
    if needed / MARGIN > memory.free:
        raise TooLittleMemory(needed / MARGIN, memory, training)
    said = f"needs about {format_bytes(needed)} of {memory.kind}, {format_bytes(memory.free)} free"
    return said if needed <= memory.free else f"{said}: {MAY_FAIL_ONCE}"


def plan_memory(training_set: TrainingSet, base: RoundBase, failures: int) -> TrainingSet:
    """Return the training set with the plan after so many rounds in which memory ran out.

    Call it when engines have left the GPU.
    """
    training = training_set.settings
    plan = plan_after(failures, is_roomy=is_roomy(base, training, memory_of_round(training, engine_leaves=False)))
    log.info("The training computes %s.", plan.describe())
    return replace(training_set, recipe=replace(training_set.recipe, plan=plan), memory_failures=failures)


def is_roomy(base: RoundBase, training: TrainingSettings, memory: FreeMemory) -> bool:
    """Return whether this is a GPU with enough memory for long trees."""
    if base.shape is None or not memory.is_gpu:
        return False
    return memory.free >= ROOMY_TIMES * round_bytes(base.shape, base.served, training)
