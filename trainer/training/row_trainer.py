"""What every objective's trainer does differently from TRL's: rows of token ids, and only answers projected to words.

Imports torch: import it late.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from datasets import Dataset
from peft.helpers import disable_input_dtype_casting
from torch import Tensor
from transformers import PrinterCallback
from trl.trainer.kto_trainer import DataCollatorForUnpairedPreference

from storage.models.base_model import BaseModel
from storage.settings.sections import TrainingSettings
from trainer.errors import TrainingDiverged
from trainer.progress import Report
from trainer.training.common import BestPass, LossHistory, Row, TrainingRun, load_policy, longest_row, new_adapter
from trainer.training.scoring import score, separate_rows


class RowTrainer:
    """What all trainers do differently from TRL's; it stands before TRL's class among the bases.

    Rows come tokenised, because TRL would add special tokens to prompts that hold them already. Raises TrainingDiverged
    on a loss that is no number.
    """

    # TRL has no type hints that mypy follows.
    model: Any
    accelerator: Any
    state: Any
    args: Any

    def __init__(self, *, processing_class: Any, patience: int, report: Report, **arguments: Any) -> None:
        self._collate_answers = DataCollatorForUnpairedPreference(pad_token_id=processing_class.pad_token_id)
        super().__init__(processing_class=processing_class, **arguments)  # type: ignore[call-arg]
        self.remove_callback(PrinterCallback)  # type: ignore[attr-defined]
        self._history, self._best = LossHistory(report), BestPass(patience)
        self.add_callback(self._history)  # type: ignore[attr-defined]
        self.add_callback(self._best)  # type: ignore[attr-defined]

    def learn(self) -> TrainingRun:
        """Train; where there are validation rows, leave the adapter as it was after its best pass."""
        # Autocast gives LoRA's products bfloat16 inputs either way: PEFT's detour through float32 changes no bit.
        with disable_input_dtype_casting(self.model):
            outcome = self.train()  # type: ignore[attr-defined]
        epochs = self._best.restore(self.model)
        return TrainingRun(
            tuple(self._history.losses), outcome.training_loss, self.state.epoch if epochs is None else epochs
        )

    def answer_logps(self, prompt_ids: list[int], answers: Sequence[list[int]]) -> Tensor:
        """Return the log-probability of each answer to one prompt, (answers,), in nats."""
        inputs, model = self._answer_inputs(prompt_ids, answers), self.scorer(self.model)
        self.model.eval()
        with torch.no_grad(), self.accelerator.autocast():
            total: Tensor = score(model, inputs).log_probs.sum(dim=1)
        return total

    def _answer_inputs(self, prompt_ids: list[int], answers: Sequence[list[int]]) -> Any:
        rows = [{"prompt_ids": prompt_ids, "completion_ids": answer, "label": True} for answer in answers]
        return self._prepare_inputs(self._collate_answers(rows))  # type: ignore[attr-defined]

    def scorer(self, model: Any) -> Any:
        """Return the model as TRL calls it."""
        return separate_rows(model)

    def training_step(self, *arguments: Any, **options: Any) -> Tensor:
        loss: Tensor = super().training_step(*arguments, **options)  # type: ignore[misc]
        if not torch.isfinite(loss):
            raise TrainingDiverged(self.state.global_step + 1)
        return loss

    def _prepare_dataset(self, dataset: Any, *_arguments: Any) -> Any:
        return dataset

    def _send_telemetry(self) -> None:
        """A self-hosted bot tells nobody that it trains."""


Trainer = TypeVar("Trainer", bound=RowTrainer)


def build_trainer(
    kind: type[Trainer],
    configure: Callable[..., Any],
    *,
    base: BaseModel,
    parent: Path | None,
    tokenizer: Any,
    rows: list[Row],
    validation_rows: list[Row],
    settings: TrainingSettings,
    report: Report,
) -> Trainer:
    """Return a trainer that goes on from `parent` (from nothing where None), which preferences have as reference.

    `configure` is asked for TRL's settings with the longest row's tokens and whether it `validates`; only with
    `settings.patience` it does.
    """
    validation_rows = validation_rows if settings.patience else []
    longest = longest_row([*rows, *validation_rows])
    return kind(
        model=load_policy(base, parent, settings, longest),
        peft_config=None if parent else new_adapter(settings),
        processing_class=tokenizer,
        args=configure(longest, validates=bool(validation_rows)),
        train_dataset=Dataset.from_list(rows),
        eval_dataset=Dataset.from_list(validation_rows) if validation_rows else None,
        patience=settings.patience,
        report=report,
    )
