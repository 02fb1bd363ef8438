"""Trains a new adapter from examples and, if given, a parent adapter, and returns its metrics."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from storage.models.base_model import BaseModel, load_model, load_tokenizer
from storage.models.hardware import cpu_threads, has_gpu, silence_transformers, training_format
from storage.settings.sections import TrainingSettings
from trainer.errors import TrainerError, TrainingDiverged
from trainer.progress import Phase, ReportProgress, RoundProgress, begin_phase
from trainer.training.recipes import SFT, Recipe, TrainingSplit
from trainer.training.rows import Example, Row, row_tokens

if TYPE_CHECKING:
    from trainer.training.trl_trainers import RowTrainer, TrainingRun

ADAPTER = "default"
"""PEFT's name of the adapter in training; TRL keeps the parent as "ref"."""
MAX_CURVE_POINTS = 200
MAX_EAGER_TOKENS = 256
"""Longest row for which a CPU uses plain attention: its memory grows with the square of the length."""


@dataclass(frozen=True)
class TrainingMetrics:
    objective: str
    """dpo, robust or sft."""
    train_loss: float
    """Mean over the steps."""
    steps: int
    pairs: int
    """Pairs trained on; demonstrations with SFT."""
    holdout_pairs: int
    """Number of known `holdout_margins`."""
    holdout_accuracy: float | None
    """Share of held-out pairs whose margin is positive; None without held-out pairs. The parent's own margins are 0."""
    holdout_margin: float | None
    """Mean margin, in nats."""
    left_out: int
    """Pairs longer than training.max_tokens, validation and held-out ones included."""
    seconds: float
    loss_curve: tuple[float, ...]
    """The loss of every step; for long runs, MAX_CURVE_POINTS means over stretches of steps."""
    holdout_margins: tuple[float | None, ...]
    """For each held-out pair, in order: beta * (log-ratio of chosen - log-ratio of rejected) to the parent, in nats.

    It is above 0 if the version prefers the members' choice more than its parent does (Rafailov et al. 2023). For a
    demonstration: how much likelier its answer became, in nats per token. None: the example was too long.
    """
    epochs_trained: float
    """Passes over the pairs that shaped the adapter that was kept."""


def train_adapter(
    recipe: Recipe,
    split: TrainingSplit,
    settings: TrainingSettings,
    *,
    base: BaseModel,
    parent: Path | None,
    output: Path,
    report: ReportProgress,
) -> TrainingMetrics:
    """Train an adapter from `parent` (a new one if None) into `output`. DPO's reference is the parent.

    With `settings.patience`, the pass with the lowest loss on the validation examples is kept. Equal examples, settings
    and threads give equal bytes on one machine. Raises TrainingDiverged if the loss is not a number, TrainerError if no
    example fits into training.max_tokens.
    """
    started = time.monotonic()
    with cpu_threads(settings.threads), silence_transformers():
        report(RoundProgress(Phase.LOADING))
        tokenizer = load_tokenizer(base)
        rows, validation, holdout = (
            tokenise(part, recipe, tokenizer, settings.max_tokens)
            for part in (split.train, split.validation, split.holdout)
        )
        trainer = build_trainer(
            recipe,
            rows,
            validation,
            settings,
            base=base,
            parent=parent,
            tokenizer=tokenizer,
            output=output,
            report=report,
        )
        before = trainer.scores(holdout, begin_phase(report, Phase.REFERENCE, len(holdout)))
        try:
            run = trainer.learn()
        except TrainingDiverged as error:
            raise TrainingDiverged(error.step, recipe.rate_setting) from error
        after = trainer.scores(holdout, begin_phase(report, Phase.HELD_OUT, len(holdout)))
        _save_adapter(trainer, base, output)
    return _metrics(
        recipe,
        run,
        [None if b is None or a is None else a - b for b, a in zip(before, after, strict=True)],
        pairs=len(_fitting(rows)),
        left_out=[*rows, *validation, *holdout].count(None),
        seconds=time.monotonic() - started,
    )


def tokenise(examples: Sequence[Example], recipe: Recipe, tokenizer: Any, max_tokens: int) -> list[Row | None]:
    """Return token ids for each example, None if it is longer than `max_tokens` with its prompt."""
    rows = (recipe.row(example, tokenizer) for example in examples)
    return [row if row_tokens(row) <= max_tokens else None for row in rows]


def build_trainer(
    recipe: Recipe,
    rows: Sequence[Row | None],
    validation: Sequence[Row | None],
    settings: TrainingSettings,
    *,
    base: BaseModel,
    parent: Path | None,
    tokenizer: Any,
    output: Path,
    report: ReportProgress,
) -> RowTrainer:
    """Return a trainer that continues `parent` (a new adapter if None). It validates only with `settings.patience`."""
    from datasets import Dataset

    from trainer.training.trl_trainers import DemonstrationTrainer, PreferenceTrainer

    kept, watched = _fitting(rows), _fitting(validation) if settings.patience else []
    if not kept:
        raise TrainerError(f"none of {len(rows)} {recipe.noun}s fits into training.max_tokens = {settings.max_tokens}")
    longest = max(map(row_tokens, [*kept, *watched]))
    trainer = DemonstrationTrainer if recipe.objective == SFT.objective else PreferenceTrainer
    return trainer(
        model=_load_policy(base, parent, settings, longest),
        peft_config=None if parent else new_adapter(settings),
        processing_class=tokenizer,
        args=recipe.config(output, settings, longest, validates=bool(watched)),
        train_dataset=Dataset.from_list(kept),
        eval_dataset=Dataset.from_list(watched) if watched else None,
        patience=settings.patience,
        report=report,
    )


def _fitting(rows: Sequence[Row | None]) -> list[Row]:
    return [row for row in rows if row is not None]


def _load_policy(base: BaseModel, parent: Path | None, settings: TrainingSettings, longest: int) -> Any:
    """Return the base, or the base under a trainable copy of the parent, which TRL then uses as the reference.

    `longest` is the number of tokens of the longest row to train and validate on.
    """
    from peft import PeftModel

    model = load_model(base, training_format(settings), settings.quantization)
    if longest <= MAX_EAGER_TOKENS and not has_gpu():
        # PyTorch's fused attention is slow backwards on a CPU: it makes a step on short rows a sixth longer.
        model.set_attn_implementation("eager")
    return model if parent is None else PeftModel.from_pretrained(model, parent, is_trainable=True)


def new_adapter(settings: TrainingSettings) -> Any:
    from peft import LoraConfig

    return LoraConfig(
        r=settings.lora_rank,
        lora_alpha=settings.lora_alpha,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )


def _save_adapter(trainer: RowTrainer, base: BaseModel, output: Path) -> None:
    """Write the trained adapter. If several ranks train, only the first one writes."""
    if not trainer.is_world_process_zero():
        return
    model = trainer.accelerator.unwrap_model(trainer.model)
    config = model.peft_config[ADAPTER]
    config.base_model_name_or_path, config.revision = base.name, base.revision
    # Without save_embedding_layers=False PEFT may ask the hub about the base.
    model.save_pretrained(output, selected_adapters=[ADAPTER], save_embedding_layers=False)


def _metrics(
    recipe: Recipe,
    run: TrainingRun,
    margins: Sequence[float | None],
    *,
    pairs: int,
    left_out: int,
    seconds: float,
) -> TrainingMetrics:
    known = [margin for margin in margins if margin is not None]
    return TrainingMetrics(
        objective=recipe.objective,
        train_loss=run.train_loss,
        steps=len(run.losses),
        pairs=pairs,
        holdout_pairs=len(known),
        holdout_accuracy=sum(margin > 0 for margin in known) / len(known) if known else None,
        holdout_margin=sum(known) / len(known) if known else None,
        left_out=left_out,
        seconds=seconds,
        loss_curve=thin(run.losses),
        holdout_margins=tuple(margins),
        epochs_trained=run.epochs,
    )


def thin(losses: Sequence[float], most: int = MAX_CURVE_POINTS) -> tuple[float, ...]:
    """Return the losses, or the means of `most` stretches of them whose lengths differ by at most one step."""
    if len(losses) <= most:
        return tuple(losses)
    borders = [index * len(losses) // most for index in range(most + 1)]
    return tuple(sum(losses[start:end]) / (end - start) for start, end in pairwise(borders))
