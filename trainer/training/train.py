"""Trains a new adapter from examples and an optional starter, saves it, and returns its metrics."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from storage.adapters.folder_store import WEIGHTS_FILE
from storage.models.adapter_checks import layer_of
from storage.models.base_model import BaseModel, load_adapter, load_on_device
from storage.models.chat_format import ChatFormat, TemplateOptions, load_chat_format
from storage.models.hardware import cpu_threads, has_gpu, silence_transformers, training_format
from storage.models.layer_names import LayerNames
from storage.settings.sections import TrainingSettings
from storage.wording import gettext_noop
from trainer.errors import TrainerError
from trainer.progress import Phase, ReportProgress, RoundProgress, begin_phase
from trainer.training.recipes import SFT, Recipe, TrainingSplit, for_so_many, warmup_share
from trainer.training.rows import Example, Row, row_tokens
from trainer.training.strength import FEWEST_WATCHED, choose_strength, margins_of

if TYPE_CHECKING:
    from trainer.training.trl_trainers import RowTrainer

MAX_CURVE_POINTS = 200
SCALE = 2
"""LoRA's alpha for each unit of rank: alpha / rank scales an adapter, so its effect is the same for every rank."""
ADAPTER = "default"
"""PEFT's name for the adapter in training; TRL keeps the starter as "ref"."""

MAX_EAGER_TOKENS = 256
"""Longest row, in tokens, for which a CPU uses plain attention, whose memory grows with the square of the length.

PyTorch's fused attention is slow in the backward pass on a CPU: it makes a step on short rows a sixth longer.
"""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainingMetrics:
    objective: str
    """"dpo" or "sft"."""
    train_loss: float
    """Mean loss over the steps."""
    steps: int
    pairs: int
    """Number of pairs trained on; of demonstrations with SFT."""
    validation_pairs: int
    validation_accuracy: float | None
    """Share of validation pairs whose margin is positive; None without such pairs."""
    validation_margin: float | None
    """Mean of beta * (log-ratio of chosen - log-ratio of rejected) to the base or the starter, in nats.

    It is above 0 if the version prefers people's choices more than the base or the starter does (Rafailov et al. 2023).
    For demonstrations: how much likelier the answers became, in nats per token.
    """
    strength: float
    """Share of the learned change that the adapter keeps, chosen on the validation pairs."""
    lowered_for: str | None
    """The check of the gate that failed at a higher strength; None if none did."""
    left_out: int
    """Number of examples longer than training.max_tokens, including validation ones."""
    seconds: float
    loss_curve: tuple[float, ...]
    """The loss of every step; for long runs, the means of MAX_CURVE_POINTS stretches of steps."""
    epochs_trained: float
    """Number of passes that shaped the kept adapter."""


@dataclass(frozen=True)
class TrainingJob:
    """A training: recipe, examples, and the folder of the adapter. It can be pickled for other processes."""

    recipe: Recipe
    split: TrainingSplit
    settings: TrainingSettings
    base: BaseModel
    output: Path
    starter: Path | None = None
    """The adapter to continue, which is also DPO's reference; None for a new one, whose reference is the base."""
    template_options: TemplateOptions = field(default_factory=dict)

    @property
    def demonstrates(self) -> bool:
        return self.recipe.objective == SFT.objective


def train_adapter(job: TrainingJob, report: ReportProgress) -> TrainingMetrics:
    """Train an adapter.

    With `patience`, the pass with the lowest loss on the validation examples is kept. Equal examples, settings and
    threads give equal bytes on one machine. Raises TrainingDiverged if the loss is not a number, TrainerError if no
    example fits into training.max_tokens.
    """
    started = time.monotonic()
    with cpu_threads(job.settings.threads), silence_transformers():
        # 1) Turn the examples into tokens, and load the base.
        report(RoundProgress(Phase.LOADING))
        chat = load_chat_format(job.base.path, job.template_options)
        rows, validation, ours = (
            tokenise(part, job.recipe, chat, job.settings.max_tokens)
            for part in (job.split.train, job.split.validation, job.split.ours)
        )
        trained = [*rows, *ours] if _fitting(rows) else rows
        trainer = build_trainer(job, trained, validation, chat.tokenizer, report)
        # 2) Score the validation rows before training.
        watched = _fitting(validation)
        before = trainer.scores(watched, begin_phase(report, Phase.REFERENCE, len(watched)))
        # 3) Train.
        run = trainer.learn()
        # 4) Choose the strength, and score the validation rows again.
        strength = 1.0 if job.demonstrates else choose_strength(trainer, watched, before, report)
        trainer.set_strength(strength)
        margins = margins_of(trainer, watched, before, begin_phase(report, Phase.VALIDATING, len(watched)))
        # 5) Save.
        if trainer.is_world_process_zero():
            save_adapter(trainer.accelerator.unwrap_model(trainer.model), job.base, job.output)
            trainer.record_effect(job.output)
    return TrainingMetrics(
        objective=job.recipe.objective,
        train_loss=run.train_loss,
        steps=len(run.losses),
        pairs=len(_fitting(rows)),
        validation_pairs=len(margins),
        validation_accuracy=sum(margin > 0 for margin in margins) / len(margins) if margins else None,
        validation_margin=sum(margins) / len(margins) if margins else None,
        strength=strength,
        lowered_for=None,
        left_out=[*rows, *validation].count(None),
        seconds=time.monotonic() - started,
        loss_curve=thin(run.losses),
        epochs_trained=run.epochs,
    )


def tokenise(examples: Sequence[Example], recipe: Recipe, chat: ChatFormat, max_tokens: int) -> list[Row | None]:
    """Return token ids for each example; None if it is longer than `max_tokens` with its prompt."""
    rows = (recipe.row(example, chat) for example in examples)
    return [row if row_tokens(row) <= max_tokens else None for row in rows]


def build_trainer(
    job: TrainingJob,
    rows: Sequence[Row | None],
    validation: Sequence[Row | None],
    tokenizer: Any,
    report: ReportProgress,
) -> RowTrainer:
    """Return the job's trainer. It validates, and may stop early, only with `patience` and enough pairs."""
    from datasets import Dataset

    from trainer.training.trl_trainers import DemonstrationTrainer, PreferenceTrainer

    recipe, kept, held_out = job.recipe, _fitting(rows), _fitting(validation)
    if not kept:
        pairs = gettext_noop("none of {number} pairs fits into training.max_tokens = {tokens}")
        answers = gettext_noop("none of {number} example answers fits into training.max_tokens = {tokens}")
        said = answers if job.demonstrates else pairs
        raise TrainerError(said, number=len(rows), tokens=str(job.settings.max_tokens))
    may_stop = job.settings.patience and (job.demonstrates or len(held_out) >= FEWEST_WATCHED)
    watched = held_out if may_stop else []
    longest = max(map(row_tokens, [*kept, *held_out]))
    settings = for_so_many(len(kept), job.settings)
    options = recipe.config(job.output, settings, longest, recipe.plan, validates=bool(watched))
    options.warmup_steps = warmup_share(len(kept), settings)  # below 1, TRL takes it for a share
    trainer = DemonstrationTrainer if job.demonstrates else PreferenceTrainer
    return trainer(
        model=load_policy(job.base, job.starter, settings, longest),
        peft_config=None if job.starter else new_adapter(job.base, settings),
        processing_class=tokenizer,
        args=options,
        train_dataset=Dataset.from_list(kept),
        eval_dataset=Dataset.from_list(watched) if watched else None,
        patience=settings.patience,
        report=report,
        plan=recipe.plan,
    )


def _fitting(rows: Sequence[Row | None]) -> list[Row]:
    return [row for row in rows if row is not None]


def thin(losses: Sequence[float], most: int = MAX_CURVE_POINTS) -> tuple[float, ...]:
    """Return the losses, or the means of `most` stretches of them whose lengths differ by at most one step."""
    if len(losses) <= most:
        return tuple(losses)
    borders = [index * len(losses) // most for index in range(most + 1)]
    return tuple(sum(losses[start:end]) / (end - start) for start, end in pairwise(borders))


def load_policy(base: BaseModel, starter: Path | None, settings: TrainingSettings, longest: int) -> Any:
    """Return the base, or the base under a trainable copy of the starter, which TRL then uses as the reference.

    `longest` is the number of tokens of the longest row to train and validate on. Raises like `load_on_device`.
    """
    if left_out := LayerNames(base.path).left_out:
        log.info("%s is a mixture of experts: %s.", base.name, left_out)
    with silence_transformers():
        model = load_on_device(base.path, training_format(settings), settings.quantization, setting="training.dtype")
    if longest <= MAX_EAGER_TOKENS and not has_gpu():
        model.set_attn_implementation("eager")
    return model if starter is None else load_adapter(model, starter, base, is_trainable=True)


def new_adapter(base: BaseModel, settings: TrainingSettings) -> Any:
    """Return the configuration of an adapter of the base's language model; raises TrainerError if none fits."""
    from peft import LoraConfig

    names = LayerNames(base.path)
    if not names.trainable:
        raise TrainerError(
            gettext_noop("{base} ({architecture}) has no linear layers that LoRA can change"),
            base=base.name,
            architecture=base.architecture,
        )
    return LoraConfig(
        r=settings.lora_rank,
        lora_alpha=SCALE * settings.lora_rank,
        target_modules=names.trainable,
        task_type="CAUSAL_LM",
    )


def save_adapter(model: Any, base: BaseModel, output: Path) -> None:
    """Write the adapter that PEFT's model trains, under the layer names of the base's files.

    Plain PEFT, vLLM and our own import then find the layers, whether or not they load the base as we do.
    """
    from peft import get_peft_model_state_dict
    from safetensors.torch import save_file

    names = LayerNames(base.path)
    # Without save_embedding_layers=False PEFT may ask the hub about the base.
    weights = get_peft_model_state_dict(model, adapter_name=ADAPTER, save_embedding_layers=False)
    layers = {key: layer_of(key) for key in weights}
    stored = {key.replace(layer, names.stored[layer]): weights[key].contiguous() for key, layer in layers.items()}
    output.mkdir(parents=True, exist_ok=True)
    save_file(stored, output / WEIGHTS_FILE, metadata={"format": "pt"})
    config = copy(model.peft_config[ADAPTER])
    config.base_model_name_or_path, config.revision = base.name, base.revision
    config.target_modules, config.inference_mode = names.targets(set(layers.values())), True
    config.save_pretrained(output)
