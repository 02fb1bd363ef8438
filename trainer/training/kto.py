"""One round of KTO: single answers with what members said of them, and a parent adapter in, a new adapter out."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from storage.models.base_model import BaseModel, load_tokenizer
from storage.models.quiet import silence_transformers
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
    micro_batch,
    own_share,
    preference_options,
    save_adapter,
    summarise,
    token_ids,
)
from trainer.training.dpo import PreferencePair, pair_rows

T = TypeVar("T")

MIN_AT_ONCE = 4
"""Fewest answers computed together: KTO's divergence term is a mean over them, and TRL's documentation advises 4."""


@dataclass(frozen=True)
class RatedAnswer:
    """One answer to a prompt, which is the text that the model was served, and what members said of it."""

    prompt: str
    answer: str
    liked: bool
    weight: float = 1.0
    """Factor of the answer's loss."""
    is_cut: bool = False
    """It ended at a length limit: no end token follows it, or the model would learn to stop in mid-sentence."""


@dataclass(frozen=True)
class Balance:
    """Factors of the losses of liked and of disliked answers."""

    liked: float
    disliked: float


def train_kto(
    train: Sequence[RatedAnswer],
    validation: Sequence[RatedAnswer],
    holdout: Sequence[PreferencePair],
    holdout_single: Sequence[RatedAnswer],
    *,
    base: BaseModel,
    parent: Path | None,
    output: Path,
    settings: TrainingSettings,
    report: Report,
) -> TrainingMetrics:
    """Train an adapter from `parent` (from nothing where None), with the parent as KTO's reference, into `output`.

    KTO: Ethayarajh et al. 2024 (arXiv 2402.01306), eq. 7. A step takes 2 * `settings.batch_size` answers, as many as
    DPO's pairs hold; `settings.sft_weight` has no part in it. With `settings.patience` the pass with the lowest loss on
    `validation` is kept. Margins are those of `holdout`, without pairs there those of `holdout_single`. Equal answers,
    settings and threads give equal bytes on one machine. Raises TrainingDiverged on a loss that is no number,
    TrainerError when no answer fits into training.max_tokens or all were voted on alike.
    """
    started = time.monotonic()
    with cpu_threads(settings.threads), silence_transformers():
        report(ReportProgress("loading"))
        from trainer.training.preference_trainer import AnswerTrainer
        from trainer.training.row_trainer import build_trainer

        tokenizer = load_tokenizer(base)
        train_rows, validation_rows, single_rows = (
            answer_rows(answers, tokenizer, settings.max_tokens) for answers in (train, validation, holdout_single)
        )
        holdout_rows = pair_rows(holdout, tokenizer, settings.max_tokens)
        all_rows = [*train_rows, *validation_rows, *(holdout_rows if holdout else single_rows)]
        rows = fitting(train_rows)
        if not rows:
            raise TrainerError(f"none of {len(train)} answers fits into training.max_tokens = {settings.max_tokens}")
        balance = balance_kinds(rows)
        report(ReportProgress("reference"))
        trainer = build_trainer(
            AnswerTrainer,
            partial(_kto_config, output, settings, balance),
            base=base,
            parent=parent,
            tokenizer=tokenizer,
            rows=_mismatch(_shuffle(rows, settings.seed)),
            validation_rows=_mismatch(fitting(validation_rows)),
            settings=settings,
            report=report,
        )
        course = trainer.learn()
        report(ReportProgress("evaluating"))
        margins = trainer.pair_margins(holdout_rows) if holdout else trainer.single_margins(single_rows)
        save_adapter(trainer, base, output)
    return summarise(
        "kto",
        course,
        margins,
        pairs=len(rows),
        left_out=all_rows.count(None),
        seconds=time.monotonic() - started,
    )


def answer_rows(answers: Sequence[RatedAnswer], tokenizer: Any, max_tokens: int) -> list[Row | None]:
    """Return token ids for each answer, None where it is longer than `max_tokens` with its prompt."""
    rows = (_row(answer, tokenizer) for answer in answers)
    return [row if longest_row([row]) <= max_tokens else None for row in rows]


def _row(answer: RatedAnswer, tokenizer: Any) -> Row:
    prompt_ids = token_ids(answer.prompt, tokenizer)
    return {
        "prompt_ids": prompt_ids,
        "completion_ids": answer_ids(prompt_ids, answer.prompt, answer.answer, tokenizer, is_cut=answer.is_cut),
        "label": answer.liked,
        "weight": answer.weight,
    }


def balance_kinds(rows: Sequence[Row]) -> Balance:
    """Raise the factor of the kind with less weight until both kinds weigh the same; the other's is 1.

    The paper advises 1 to 4/3 for the ratio of liked to disliked (eq. 8), as TRL does; this is 1, and answers count by
    their weight. Raises TrainerError where only one kind has any weight.
    """
    liked = sum(row["weight"] for row in rows if row["label"])
    disliked = sum(row["weight"] for row in rows if not row["label"])
    if liked == 0 or disliked == 0:
        found = "liked" if liked else "disliked"
        raise TrainerError(
            f"KTO needs both liked and disliked answers, and all of these {len(rows)} were {found}: wait for other "
            'votes, or set training.objective to "dpo"'
        )
    return Balance(max(1.0, disliked / liked), max(1.0, liked / disliked))


def _shuffle(rows: Sequence[T], seed: int) -> list[T]:
    """Mix both kinds: TRL keeps the order that it gets, because mismatched completions belong to it."""
    return random.Random(seed).sample(rows, len(rows))


def _mismatch(rows: Sequence[Row]) -> list[Row]:
    """Give each prompt the answer of the row before as well, from which TRL estimates the divergence from the parent.

    TRL rotates within each batch; over all rows a last batch of one row has another's answer, too.
    """
    return [row | {"KL_completion_ids": rows[index - 1]["completion_ids"]} for index, row in enumerate(rows)]


def _kto_config(output: Path, settings: TrainingSettings, balance: Balance, longest: int, *, validates: bool) -> Any:
    from trl import KTOConfig

    step = own_share(2 * settings.batch_size, settings)
    at_once = micro_batch(step, longest, MIN_AT_ONCE)
    return KTOConfig(
        **preference_options(output, settings, validates=validates),
        desirable_weight=balance.liked,
        undesirable_weight=balance.disliked,
        per_device_train_batch_size=at_once,
        per_device_eval_batch_size=at_once,
        gradient_accumulation_steps=step // at_once,
    )
