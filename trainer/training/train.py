"""Trains a new adapter from examples and an optional starter, and returns its metrics."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import fsum
from pathlib import Path
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Any

from storage.models import chat_format
from storage.models.base_model import BaseModel
from storage.models.hardware import cpu_threads, silence_transformers
from storage.settings.sections import TrainingSettings
from storage.wording import gettext_noop
from trainer.errors import TrainerError, TrainingDiverged
from trainer.evaluation.overshoot import Z_ONE_SIDED_95
from trainer.progress import (
    Advance,
    Phase,
    ReportProgress,
    RoundProgress,
    after_others,
    begin_phase,
)
from trainer.training.policy import load_policy, new_adapter, save_adapter
from trainer.training.recipes import SFT, Recipe, TrainingSplit, for_so_many
from trainer.training.rows import WEIGHT, Example, Row, row_tokens

if TYPE_CHECKING:
    from trainer.training.trl_trainers import RowTrainer

MAX_CURVE_POINTS = 200
STRENGTHS = (1.0, 0.5, 0.75, 1.25, 1.5)
"""Shares of the learned change to try; of equally good ones, the first is chosen."""
FEWEST_WATCHED = 8
"""Minimum number of validation pairs that can stop training early or choose a strength: fewer are chance."""


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


def train_adapter(
    recipe: Recipe,
    split: TrainingSplit,
    settings: TrainingSettings,
    *,
    base: BaseModel,
    starter: Path | None,
    output: Path,
    report: ReportProgress,
    template_options: chat_format.TemplateOptions,
) -> TrainingMetrics:
    """Train an adapter from `starter` (a new one if None) into `output`. DPO's reference is the starter, or the base.

    With `settings.patience`, the pass with the lowest loss on the validation examples is kept. Equal examples, settings
    and threads give equal bytes on one machine. Raises TrainingDiverged if the loss is not a number, TrainerError if no
    example fits into training.max_tokens.
    """
    started = time.monotonic()
    with cpu_threads(settings.threads), silence_transformers():
        report(RoundProgress(Phase.LOADING))
        chat = chat_format.load_chat_format(base.path, template_options)
        rows, validation = (
            tokenise(part, recipe, chat, settings.max_tokens) for part in (split.train, split.validation)
        )
        trainer = build_trainer(
            recipe,
            rows,
            validation,
            settings,
            base=base,
            starter=starter,
            tokenizer=chat.tokenizer,
            output=output,
            report=report,
        )
        watched = _fitting(validation)
        before = trainer.scores(watched, begin_phase(report, Phase.REFERENCE, len(watched)))
        try:
            run = trainer.learn()
        except TrainingDiverged as error:
            raise TrainingDiverged(error.step, recipe.rate_setting) from error
        strength = _strongest(trainer, watched, before, recipe, report)
        trainer.set_strength(strength)
        margins = _margins(trainer, watched, before, begin_phase(report, Phase.VALIDATING, len(watched)))
        if trainer.is_world_process_zero():
            save_adapter(trainer.accelerator.unwrap_model(trainer.model), base, output)
            trainer.record_effect(output)
    return TrainingMetrics(
        objective=recipe.objective,
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


def _strongest(
    trainer: RowTrainer, watched: Sequence[Row], before: Sequence[float], recipe: Recipe, report: ReportProgress
) -> float:
    """Return the strength with the lowest preference loss on people's pairs, if chance does not explain the difference.

    With too few pairs, and for demonstrations, it is 1.
    """
    if recipe.objective == SFT.objective or len(watched) < FEWEST_WATCHED:
        return 1.0
    advance = begin_phase(report, Phase.VALIDATING, len(STRENGTHS) * len(watched))
    weights = [row.get(WEIGHT, 1.0) for row in watched]
    losses: dict[float, list[float]] = {}
    for place, strength in enumerate(STRENGTHS):
        trainer.set_strength(strength)
        margins = _margins(trainer, watched, before, after_others(advance, place * len(watched)))
        losses[strength] = _preference_losses(margins, weights)
    best = min(STRENGTHS, key=lambda strength: fsum(losses[strength]))
    gains = [whole - less for whole, less in zip(losses[1.0], losses[best], strict=True)]
    return best if fmean(gains) > Z_ONE_SIDED_95 * stdev(gains) / math.sqrt(len(gains)) else 1.0


def _margins(trainer: RowTrainer, watched: Sequence[Row], before: Sequence[float], advance: Advance) -> list[float]:
    return [now - then for now, then in zip(trainer.scores(watched, advance), before, strict=True)]


def _preference_losses(margins: Sequence[float], weights: Sequence[float]) -> list[float]:
    """Return DPO's loss of each margin, times its weight (Rafailov et al. 2023, eq. 7)."""
    return [
        weight * (max(0.0, -margin) + math.log1p(math.exp(-abs(margin))))
        for margin, weight in zip(margins, weights, strict=True)
    ]


def tokenise(
    examples: Sequence[Example], recipe: Recipe, chat: chat_format.ChatFormat, max_tokens: int
) -> list[Row | None]:
    """Return token ids for each example; None if it is longer than `max_tokens` with its prompt."""
    rows = (recipe.row(example, chat) for example in examples)
    return [row if row_tokens(row) <= max_tokens else None for row in rows]


def _none_fits(recipe: Recipe, number: int, settings: TrainingSettings) -> TrainerError:
    pairs = gettext_noop("none of {number} pairs fits into training.max_tokens = {tokens}")
    answers = gettext_noop("none of {number} example answers fits into training.max_tokens = {tokens}")
    said = answers if recipe.objective == SFT.objective else pairs
    return TrainerError(said, number=number, tokens=str(settings.max_tokens))


def build_trainer(
    recipe: Recipe,
    rows: Sequence[Row | None],
    validation: Sequence[Row | None],
    settings: TrainingSettings,
    *,
    base: BaseModel,
    starter: Path | None,
    tokenizer: Any,
    output: Path,
    report: ReportProgress,
) -> RowTrainer:
    """Return a trainer that continues `starter` (a new adapter if None).

    It validates, and may stop early, only with `settings.patience` and enough pairs.
    """
    from datasets import Dataset

    from trainer.training.trl_trainers import DemonstrationTrainer, PreferenceTrainer

    kept, held_out = _fitting(rows), _fitting(validation)
    if not kept:
        raise _none_fits(recipe, len(rows), settings)
    may_stop = settings.patience and (recipe.objective == SFT.objective or len(held_out) >= FEWEST_WATCHED)
    watched = held_out if may_stop else []
    longest = max(map(row_tokens, [*kept, *held_out]))
    settings = for_so_many(len(kept), settings)
    trainer = DemonstrationTrainer if recipe.objective == SFT.objective else PreferenceTrainer
    return trainer(
        model=load_policy(base, starter, settings, longest),
        peft_config=None if starter else new_adapter(base, settings),
        processing_class=tokenizer,
        args=recipe.config(output, settings, longest, recipe.plan, validates=bool(watched)),
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
