"""A personality's first version: demonstrations of how it answers in, a new adapter out."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from storage.models.base_model import BaseModel, load_tokenizer
from storage.models.libraries import silence_transformers
from storage.settings.sections import DemonstrationSettings, TrainingSettings
from trainer.errors import TrainerError, TrainingDiverged
from trainer.progress import Report, ReportProgress
from trainer.training.common import (
    Row,
    TrainingMetrics,
    answer_ids,
    cpu_threads,
    fitting,
    longest_row,
    micro_batch,
    own_share,
    save_adapter,
    summarise,
    token_ids,
    training_options,
)


@dataclass(frozen=True)
class Demonstration:
    """An answer as the personality gives it, whole, to a prompt, which is the text that the model is served."""

    prompt: str
    answer: str


def train_sft(
    train: Sequence[Demonstration],
    validation: Sequence[Demonstration],
    holdout: Sequence[Demonstration],
    *,
    base: BaseModel,
    parent: Path | None,
    output: Path,
    settings: TrainingSettings,
    report: Report,
) -> TrainingMetrics:
    """Train an adapter from `parent` (from nothing where None) on what is demonstrated, into `output`.

    The loss is that of the answers' tokens and of the end token after each. `settings` are those of [training] as
    `as_demonstrated` changes them; those of preferences alone have no part in it. With `settings.patience` the pass
    with the lowest loss on `validation` is kept. Equal demonstrations, settings and threads give equal bytes on one
    machine. Raises TrainingDiverged on a loss that is no number, TrainerError when no demonstration fits into
    training.max_tokens.
    """
    started = time.monotonic()
    with cpu_threads(settings.threads), silence_transformers():
        report(ReportProgress("loading"))
        from trainer.training.demonstration_trainer import DemonstrationTrainer
        from trainer.training.row_trainer import build_trainer

        tokenizer = load_tokenizer(base)
        train_rows, validation_rows, holdout_rows = (
            demonstration_rows(part, tokenizer, settings.max_tokens) for part in (train, validation, holdout)
        )
        all_rows = [*train_rows, *validation_rows, *holdout_rows]
        rows = fitting(train_rows)
        if not rows:
            raise TrainerError(
                f"none of {len(train)} demonstrations fits into training.max_tokens = {settings.max_tokens}"
            )
        trainer = build_trainer(
            DemonstrationTrainer,
            partial(_sft_config, output, settings),
            base=base,
            parent=parent,
            tokenizer=tokenizer,
            rows=rows,
            validation_rows=fitting(validation_rows),
            settings=settings,
            report=report,
        )
        report(ReportProgress("reference"))
        before = trainer.token_logps(holdout_rows)  # a new adapter changes nothing yet, so this is the parent or base
        try:
            course = trainer.learn()
        except TrainingDiverged as error:
            raise TrainingDiverged(error.step, "demonstration.learning_rate") from error
        report(ReportProgress("evaluating"))
        after = trainer.token_logps(holdout_rows)
        save_adapter(trainer, base, output)
    return summarise(
        "sft",
        course,
        [None if b is None or a is None else a - b for b, a in zip(before, after, strict=True)],
        pairs=len(rows),
        left_out=all_rows.count(None),
        seconds=time.monotonic() - started,
    )


def as_demonstrated(training: TrainingSettings, demonstration: DemonstrationSettings) -> TrainingSettings:
    """Return the settings of [training] with those that [demonstration] sets otherwise."""
    return training.model_copy(
        update={name: getattr(demonstration, name) for name in ("epochs", "patience", "learning_rate", "holdout_share")}
    )


def demonstration_rows(demonstrations: Sequence[Demonstration], tokenizer: Any, max_tokens: int) -> list[Row | None]:
    """Return token ids for each demonstration, None where it is longer than `max_tokens` with its prompt."""
    rows = (_row(demonstration, tokenizer) for demonstration in demonstrations)
    return [row if longest_row([row]) <= max_tokens else None for row in rows]


def _row(demonstration: Demonstration, tokenizer: Any) -> Row:
    prompt, answer = demonstration.prompt, demonstration.answer
    prompt_ids = token_ids(prompt, tokenizer)
    return {
        "prompt_ids": prompt_ids,
        "completion_ids": answer_ids(prompt_ids, prompt, answer, tokenizer, is_cut=False),
    }


def _sft_config(output: Path, settings: TrainingSettings, longest: int, *, validates: bool) -> Any:
    from trl import SFTConfig

    step = own_share(settings.batch_size, settings)
    at_once = micro_batch(step, longest)
    return SFTConfig(
        **training_options(output, settings, validates=validates),
        per_device_train_batch_size=at_once,
        per_device_eval_batch_size=at_once,
        gradient_accumulation_steps=step // at_once,
    )
