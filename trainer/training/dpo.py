"""One round of DPO: preference pairs and a parent adapter in, a new adapter out."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from storage.models.base_model import BaseModel, load_tokenizer
from storage.models.libraries import silence_transformers
from storage.settings.sections import TrainingSettings
from trainer.errors import TrainerError
from trainer.progress import Report, ReportProgress
from trainer.training.common import (
    Row,
    TrainingMetrics,
    answer_ids,
    cpu_threads,
    fitting,
    longest_row,
    own_share,
    save_adapter,
    summarise,
    token_ids,
    training_options,
)

MAX_LABEL_NOISE = 0.4
"""Robust DPO divides by 1 - 2 * noise: nearer to a coin toss, one round would run away from its parent."""


@dataclass(frozen=True)
class PreferencePair:
    """Two answers to one prompt, which is the text that the model was served, special tokens included."""

    prompt: str
    chosen: str
    rejected: str
    weight: float = 1.0
    """Factor of the pair's loss."""
    chosen_is_cut: bool = False
    """It ended at a length limit: no end token follows it, or the model would learn to stop in mid-sentence."""
    rejected_is_cut: bool = False


def train_dpo(
    train: Sequence[PreferencePair],
    validation: Sequence[PreferencePair],
    holdout: Sequence[PreferencePair],
    *,
    base: BaseModel,
    parent: Path | None,
    output: Path,
    settings: TrainingSettings,
    label_noise: float,
    report: Report,
) -> TrainingMetrics:
    """Train an adapter from `parent` (from nothing where None), with the parent as DPO's reference, into `output`.

    `label_noise` is the probability that a pair is the wrong way round, at most 0.5; objective "robust" alone uses it,
    up to MAX_LABEL_NOISE. With `settings.patience` the pass with the lowest loss on `validation` is kept. Equal pairs,
    settings and threads give equal bytes on one machine. Raises TrainingDiverged on a loss that is no number,
    TrainerError when no pair fits into training.max_tokens.
    """
    started = time.monotonic()
    with cpu_threads(settings.threads), silence_transformers():
        report(ReportProgress("loading"))
        from trainer.training.preference_trainer import PreferenceTrainer
        from trainer.training.row_trainer import build_trainer

        tokenizer = load_tokenizer(base)
        train_rows, validation_rows, holdout_rows = (
            pair_rows(pairs, tokenizer, settings.max_tokens) for pairs in (train, validation, holdout)
        )
        all_rows = [*train_rows, *validation_rows, *holdout_rows]
        rows = _siblings_together(train_rows)
        if not rows:
            raise TrainerError(f"none of {len(train)} pairs fits into training.max_tokens = {settings.max_tokens}")
        report(ReportProgress("reference"))
        trainer = build_trainer(
            PreferenceTrainer,
            partial(_dpo_config, output, settings, label_noise),
            base=base,
            parent=parent,
            tokenizer=tokenizer,
            rows=rows,
            validation_rows=_siblings_together(validation_rows),
            settings=settings,
            report=report,
        )
        course = trainer.learn()
        report(ReportProgress("evaluating"))
        margins = trainer.pair_margins(holdout_rows)
        save_adapter(trainer, base, output)
    return summarise(
        "robust" if settings.objective == "robust" else "dpo",
        course,
        margins,
        pairs=len(rows),
        left_out=all_rows.count(None),
        seconds=time.monotonic() - started,
    )


def pair_rows(pairs: Sequence[PreferencePair], tokenizer: Any, max_tokens: int) -> list[Row | None]:
    """Return token ids for each pair, None where one of its answers is longer than `max_tokens` with the prompt."""
    rows = (_row(pair, tokenizer) for pair in pairs)
    return [row if longest_row([row]) <= max_tokens else None for row in rows]


def _siblings_together(rows: Sequence[Row | None]) -> list[Row]:
    """Return the rows that are not None in the order of their prompts, which those beside each other can share."""
    return sorted(fitting(rows), key=lambda row: row["prompt_ids"])


def _row(pair: PreferencePair, tokenizer: Any) -> Row:
    prompt_ids = token_ids(pair.prompt, tokenizer)
    return {
        "prompt_ids": prompt_ids,
        "chosen_ids": answer_ids(prompt_ids, pair.prompt, pair.chosen, tokenizer, is_cut=pair.chosen_is_cut),
        "rejected_ids": answer_ids(prompt_ids, pair.prompt, pair.rejected, tokenizer, is_cut=pair.rejected_is_cut),
        "weight": pair.weight,
    }


def _dpo_config(output: Path, settings: TrainingSettings, label_noise: float, _longest: int, *, validates: bool) -> Any:
    """Robust DPO: Chowdhury et al. 2024 (arXiv 2403.00409); `label_noise` is its epsilon. The SFT term stays beside."""
    from trl import DPOConfig

    if not 0 <= label_noise <= 0.5:
        raise ValueError(f"label_noise = {label_noise} is not in [0, 0.5]")
    preference = "robust" if settings.objective == "robust" else "sigmoid"
    losses = {preference: 1.0, "sft": settings.sft_weight}
    used = {name: weight for name, weight in losses.items() if weight > 0}
    return DPOConfig(
        **training_options(output, settings, validates=validates),
        beta=settings.beta,
        precompute_ref_log_probs=True,
        loss_type=list(used),
        loss_weights=list(used.values()),
        label_smoothing=min(label_noise, MAX_LABEL_NOISE),
        per_device_train_batch_size=own_share(settings.batch_size, settings),
        per_device_eval_batch_size=own_share(settings.batch_size, settings),
    )
