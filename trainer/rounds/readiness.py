"""Checks that this machine can run a round, and plans its memory when the examples are known."""

from __future__ import annotations

import logging
from dataclasses import replace

from sqlalchemy.orm import Session

from storage.models.base_model import BaseModel, require_full_weights, resolve_base_model
from storage.models.hardware import require_training
from storage.releases.bases import base_in_use
from storage.sentences import Sentence
from storage.settings.sections import Settings, TrainingSettings
from storage.wording import format_bytes
from trainer.base import RoundBase
from trainer.data.dataset import TrainingSet
from trainer.training.memory_plan import PlannedMemory, RoundMemory, longest_pair
from trainer.training.train import tokenise

NO_ESTIMATE = "needs an amount of memory that cannot be estimated for this base model"

log = logging.getLogger(__name__)


def ready_base(settings: Settings, *, checks_memory: bool = True) -> RoundBase:
    """Return the base if this machine can train it; raises BaseModelError, SettingsError and TooLittleMemory.

    While a bot's engine is on the GPU, its free memory says nothing. Then only `plan_memory` checks it, once the engine
    has left.
    """
    require_training(settings.training)
    base = resolve_base_model(settings.model.base, settings.data.directory, log.info)
    require_full_weights(base.path)
    ready = RoundBase(base, settings.model)
    if checks_memory:
        log.info("A round %s.", check_round_memory(ready, settings.training, settings.generation.max_new_tokens))
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


def check_round_memory(base: RoundBase, training: TrainingSettings, answer_tokens: int) -> str:
    """Return a sentence on the memory that a round needs and that is free, or that it cannot be estimated.

    The longest pair that training.max_tokens allows decides; its answers have at most `answer_tokens`. Raises
    TooLittleMemory if not even that pair alone fits.
    """
    if base.shape is None:
        return NO_ESTIMATE
    pair = longest_pair(training.max_tokens, answer_tokens)
    return describe_need(RoundMemory.here(base.shape, training).choose([pair]))


def plan_memory(training_set: TrainingSet, base: RoundBase, failures: int) -> TrainingSet:
    """Return the training set with its memory plan; unchanged if the base's size is unknown.

    Each of the `failures`, earlier rounds in which memory ran out, makes the plan a step smaller. Raises
    TooLittleMemory.
    """
    training, recipe = training_set.settings, training_set.recipe
    split = training_set.split
    examples = split.train + split.validation + split.ours
    rows = [row for row in tokenise(examples, recipe, base.chat, training.max_tokens) if row is not None]
    if base.shape is None or not rows:
        return training_set
    planned = RoundMemory.here(base.shape, training).choose(rows, failures)
    log.info("The training %s; it computes %s.", describe_need(planned), planned.plan.describe())
    return replace(training_set, recipe=replace(recipe, plan=planned.plan), memory=planned)


def describe_need(planned: PlannedMemory) -> str:
    """Return "needs about 9.1 GB of memory, 11.3 GB free"."""
    return f"needs about {format_bytes(planned.needed)} of {planned.kind}, {format_bytes(planned.free)} free"
