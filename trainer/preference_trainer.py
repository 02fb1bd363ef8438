"""TRL's DPOTrainer, fed with token ids instead of text, one weighted pair at a time. Imports torch: import it late."""

from __future__ import annotations

import time
from typing import Any

import torch
from torch import Tensor
from transformers import PrinterCallback, TrainerCallback
from trl import DPOTrainer
from trl.trainer.dpo_trainer import DataCollatorForPreference

from trainer.dpo import Progress, Report
from trainer.errors import TrainingDiverged


class PreferenceTrainer(DPOTrainer):  # type: ignore[misc]  # TRL has no type hints that mypy follows
    """Train on rows of prompt_ids, chosen_ids, rejected_ids and weight; every micro-batch is one row.

    Rows come tokenised, because TRL would add special tokens to prompts that hold them already. One row at a time makes
    a pair's weight exact, needs no padding and keeps memory low. Raises TrainingDiverged on a loss that is no number.
    """

    def __init__(self, *, processing_class: Any, report: Report, **arguments: Any) -> None:
        collator = _WeightedCollator(pad_token_id=processing_class.pad_token_id)
        super().__init__(processing_class=processing_class, data_collator=collator, **arguments)
        self.remove_callback(PrinterCallback)
        self.add_callback(_ProgressCallback(report))

    def _prepare_dataset(self, dataset: Any, *_arguments: Any) -> Any:
        return dataset

    def _precompute_ref_logps(self, dataset: Any, _name: str, _batch_size: int) -> Any:
        """Add the columns ref_chosen_logps and ref_rejected_logps, in nats, without TRL's cache files and bars."""
        chosen, rejected = [], []
        for row in dataset:
            of_chosen, of_rejected = self.compute_ref_log_probs(
                self.model, self._prepare_inputs(self.data_collator([row]))
            )
            chosen.append(of_chosen.item())
            rejected.append(of_rejected.item())
        return dataset.add_column("ref_chosen_logps", chosen).add_column("ref_rejected_logps", rejected)

    def compute_ref_log_probs(self, model: Any, inputs: dict[str, Any]) -> Any:
        return super().compute_ref_log_probs(model, _without_weight(inputs))

    def compute_loss(self, model: Any, inputs: dict[str, Any], *arguments: Any, **options: Any) -> Tensor:
        loss: Tensor = inputs["weight"] * super().compute_loss(model, _without_weight(inputs), *arguments, **options)
        if not torch.isfinite(loss):
            raise TrainingDiverged(self.state.global_step + 1)
        return loss

    def _send_telemetry(self) -> None:
        """A self-hosted bot tells nobody that it trains."""


class _WeightedCollator(DataCollatorForPreference):  # type: ignore[misc]  # TRL has no type hints that mypy follows
    def torch_call(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        (row,) = examples
        return {**super().torch_call(examples), "weight": torch.tensor(row["weight"])}


class _ProgressCallback(TrainerCallback):  # type: ignore[misc]  # transformers has no type hints that mypy follows
    def __init__(self, report: Report) -> None:
        self._report = report
        self._started = time.monotonic()

    def on_train_begin(self, _args: Any, state: Any, _control: Any, **_others: Any) -> None:
        self._started = time.monotonic()
        self._report(Progress("training", 0, state.max_steps))

    def on_log(self, _args: Any, state: Any, _control: Any, logs: dict[str, float], **_others: Any) -> None:
        if "loss" not in logs:
            return
        step, steps = state.global_step, state.max_steps
        seconds_left = (time.monotonic() - self._started) / step * (steps - step)
        self._report(Progress("training", step, steps, logs["loss"], seconds_left))


def _without_weight(inputs: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in inputs.items() if name != "weight"}
