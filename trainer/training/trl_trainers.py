"""TRL's trainers, fed with token ids instead of text. Imports torch and TRL, which take seconds: import it late."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from operator import itemgetter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from datasets import Dataset
from peft.helpers import disable_input_dtype_casting
from torch import Tensor
from transformers import PrinterCallback, TrainerCallback
from trl import DPOTrainer, SFTTrainer
from trl.trainer.dpo_trainer import DataCollatorForPreference
from trl.trainer.kto_trainer import DataCollatorForUnpairedPreference
from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

from storage.models.effect import measure_effect, write_effect
from trainer.errors import TrainingDiverged
from trainer.progress import Advance, Phase, ReportProgress, RoundProgress, begin_phase
from trainer.training.memory_plan import TrainingMemoryPlan
from trainer.training.rows import WEIGHT, Row, row_tokens
from trainer.training.scorers import (
    IGNORED,
    SharedPromptScorer,
    SiblingSampler,
    reason_not_to_share,
    score,
    separate_rows,
)

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainingRun:
    """The result of a training run."""

    losses: tuple[float, ...]
    """The loss of each step."""
    train_loss: float
    epochs: float
    """Number of passes that shaped the kept adapter."""


class RowTrainer:
    """Changes to TRL's trainers that all of ours share. List it before TRL's class among the bases.

    Rows come as token ids, because TRL would add special tokens to prompts that contain them already. Raises
    TrainingDiverged if the loss is not a number.
    """

    # TRL has no type hints that the type checker follows.
    model: Any
    accelerator: Any
    state: Any
    args: Any
    is_world_process_zero: Any
    processing_class: Any

    def __init__(
        self,
        *,
        processing_class: Any,
        patience: int,
        report: ReportProgress,
        plan: TrainingMemoryPlan,
        **arguments: Any,
    ) -> None:
        self._report = report
        self._plan = plan
        self._collate_answers = DataCollatorForUnpairedPreference(pad_token_id=processing_class.pad_token_id)
        super().__init__(processing_class=processing_class, **arguments)  # pyrefly: ignore[unexpected-keyword]
        _restore_precision(self.model)
        self.remove_callback(PrinterCallback)  # pyrefly: ignore[missing-attribute]
        self._history, self._best = _LossHistory(report), _BestPass(patience)
        self.add_callback(self._history)  # pyrefly: ignore[missing-attribute]
        self.add_callback(self._best)  # pyrefly: ignore[missing-attribute]

    def learn(self) -> TrainingRun:
        """Train. If there are validation rows, keep the adapter of the best pass."""
        self._start = _copy_trained(self.model)
        # Autocast gives LoRA's products bfloat16 inputs either way: PEFT's detour through float32 changes no bit.
        with disable_input_dtype_casting(self.model):
            outcome = self.train()  # pyrefly: ignore[missing-attribute]
        epochs = self._best.restore(self.model)
        self._end = _copy_trained(self.model)
        return TrainingRun(
            tuple(self._history.losses), outcome.training_loss, self.state.epoch if epochs is None else epochs
        )

    def set_strength(self, strength: float) -> None:
        """Give the adapter this share of its learned change: 0 is the start, 1 is all of it, more goes further."""
        for name, weight in _trained(self.model):
            weight.data.copy_(torch.lerp(self._start[name], self._end[name], strength))

    def scores(self, rows: Sequence[Row], advance: Advance) -> list[float]:
        """Return the model's present score of each row's answer, in nats.

        A row's margin is its score after training minus its score before.
        """
        found: list[float] = []
        for row in rows:
            found.append(self.row_score(row))
            advance(len(found))
        return found

    def row_score(self, row: Row) -> float:
        raise NotImplementedError

    def record_effect(self, adapter: Path) -> None:
        """Write the measured effect of the model's adapter into the saved adapter."""
        model = self.accelerator.unwrap_model(self.model)
        with self.accelerator.autocast():
            write_effect(adapter, measure_effect(model, self.processing_class))

    def answer_logps(self, prompt_ids: list[int], answers: Sequence[list[int]]) -> Tensor:
        """Return the log-probability of each answer to one prompt, (answers,), in nats."""
        inputs, model = self._answer_inputs(prompt_ids, answers), self.scorer(self.model)
        self.model.eval()
        with torch.no_grad(), self.accelerator.autocast():
            total: Tensor = score(model, inputs).log_probs.sum(dim=1)
        return total

    def _answer_inputs(self, prompt_ids: list[int], answers: Sequence[list[int]]) -> Any:
        rows = [{"prompt_ids": prompt_ids, "completion_ids": answer, "label": True} for answer in answers]
        return self._prepare_inputs(self._collate_answers(rows))  # pyrefly: ignore[missing-attribute]

    def scorer(self, model: Any) -> Any:
        """Return the model in a form that TRL can call."""
        return separate_rows(model)

    def training_step(self, model: Any, inputs: dict[str, Any], num_items_in_batch: Any = None) -> Tensor:
        loss: Tensor = super().training_step(model, inputs, num_items_in_batch)  # pyrefly: ignore[missing-attribute]
        if not torch.isfinite(loss):
            raise TrainingDiverged(self.state.global_step + 1)
        return loss

    def _prepare_dataset(self, dataset: Any, *_arguments: Any) -> Any:
        return dataset

    def _send_telemetry(self) -> None:
        """Do nothing, so that TRL's authors do not learn that this bot trains."""


class DemonstrationTrainer(RowTrainer, SFTTrainer):
    """SFT on rows of prompt_ids and completion_ids. The loss is the mean over a step's completion tokens."""

    def __init__(self, *, processing_class: Any, **arguments: Any) -> None:
        collator = _DemonstrationCollator(pad_token_id=processing_class.pad_token_id)
        super().__init__(processing_class=processing_class, data_collator=collator, **arguments)

    def row_score(self, row: Row) -> float:
        """Return the mean log-probability of the completion's tokens."""
        total = self.answer_logps(row["prompt_ids"], [row["completion_ids"]])
        return float(total) / len(row["completion_ids"])

    def compute_loss(self, model: Any, inputs: dict[str, Any], **options: Any) -> Tensor:
        loss: Tensor = super().compute_loss(self.scorer(model), inputs, **options)
        return loss


class _DemonstrationCollator(DataCollatorForLanguageModeling):
    def torch_call(self, examples: list[Row]) -> dict[str, Any]:
        rows = [
            {
                "input_ids": [*row["prompt_ids"], *row["completion_ids"]],
                "labels": [IGNORED] * len(row["prompt_ids"]) + row["completion_ids"],
            }
            for row in examples
        ]
        batch: dict[str, Any] = super().torch_call(rows)
        return batch


class PreferenceTrainer(RowTrainer, DPOTrainer):
    """DPO on rows of prompt_ids, chosen_ids, rejected_ids and weight. A prompt is computed once for all its answers.

    A step takes `per_device_train_batch_size` pairs and computes them in runs (`TrainingMemoryPlan.divide`), in the
    backward pass as well, so memory depends on the length of a run and not on the size of the step. The pairs of a
    prompt follow one another (`SiblingSampler`). A model that cannot compute trees of tokens gets one row per answer,
    as with TRL, and a warning says so.
    """

    # `compute_loss` divides by a step's rows itself: a mean of micro-batches' means would favour a smaller last one.
    loss_is_scaled_for_ga = True

    reference_columns = ("ref_chosen_logps", "ref_rejected_logps")

    train_dataset: Any

    def __init__(self, *, processing_class: Any, **arguments: Any) -> None:
        collator = _PairCollator(pad_token_id=processing_class.pad_token_id)
        super().__init__(processing_class=processing_class, data_collator=collator, **arguments)

    def row_score(self, row: Row) -> float:
        """Return beta * (log-probability of chosen - log-probability of rejected)."""
        chosen, rejected = self.answer_logps(row["prompt_ids"], [row["chosen_ids"], row["rejected_ids"]])
        return float(self.beta * (chosen - rejected))

    def get_batch_samples(self, *arguments: Any) -> tuple[list[dict[str, Any]], int]:
        """Return the micro-batches of a step and the number of their rows, by which `compute_loss` divides."""
        batches, _ = super().get_batch_samples(*arguments)
        return batches, sum(len(batch[WEIGHT]) for batch in batches)

    def compute_loss(self, model: Any, inputs: dict[str, Any], **options: Any) -> Tensor:
        """Return the sum of weight * loss over the rows, divided by the step's rows (by these rows in validation)."""
        scorer = self.scorer(model)
        losses = torch.stack([self._run_loss(scorer, run) for run in self._split(inputs)])
        return losses.sum() / (options.get("num_items_in_batch") or len(inputs[WEIGHT]))

    def compute_ref_log_probs(self, model: Any, inputs: dict[str, Any]) -> Any:
        return super().compute_ref_log_probs(self.scorer(model), _without_weight(inputs))

    def _prepare_dataset(self, dataset: Any, *_arguments: Any) -> Any:
        """Put the pairs of a prompt next to each other, so that they can share it."""
        return Dataset.from_list(sorted(dataset.to_list(), key=itemgetter("prompt_ids")))

    def _precompute_ref_logps(self, dataset: Any, _name: str, _batch_size: int) -> Any:
        """Add the columns `reference_columns`, in nats, without TRL's cache files and progress bars."""
        rows, done = dataset.to_list(), 0
        batches: list[Any] = []
        advance = begin_phase(self._report, Phase.REFERENCE, len(rows))
        for run in self._runs(rows):
            batches.append(self._reference([rows[index] for index in run]))
            done += len(run)
            advance(done)
        for name, parts in zip(self.reference_columns, zip(*batches, strict=True), strict=True):
            dataset = dataset.add_column(name, torch.cat(parts).tolist())
        return dataset

    def _reference(self, rows: Sequence[Row]) -> tuple[Tensor, Tensor]:
        inputs = self._prepare_inputs(self.data_collator(rows))
        logps: tuple[Tensor, Tensor] = self.compute_ref_log_probs(self.model, inputs)
        return logps

    @cached_property
    def shares_prompts(self) -> bool:
        """True if the model can compute trees of tokens. The longest row decides: attention windows show there."""
        reason = self._reason_not_to_share(max(self.train_dataset, key=row_tokens))
        if reason is not None:
            log.warning("This model computes every prompt again for each of its answers: %s.", reason)
        return reason is None

    def _reason_not_to_share(self, row: Row) -> str | None:
        # If one answer saw the other, the second would be a repetition, which models find likely.
        answers = [row["chosen_ids"], [row["prompt_ids"][0], *row["chosen_ids"]]]
        self.model.eval()
        with self.accelerator.autocast():
            return reason_not_to_share(self.model, self._answer_inputs(row["prompt_ids"], answers))

    def scorer(self, model: Any) -> Any:
        return SharedPromptScorer(model) if self.shares_prompts else super().scorer(model)

    def training_step(self, model: Any, inputs: dict[str, Any], num_items_in_batch: Any = None) -> Tensor:
        """Compute a step run by run; the losses add up, as each is divided by the step's rows."""
        losses = [self._training_run(model, run, num_items_in_batch) for run in self._split(inputs)]
        return torch.stack(losses).sum()

    def _training_run(self, model: Any, run: dict[str, Any], num_items_in_batch: Any) -> Tensor:
        return super().training_step(model, run, num_items_in_batch)

    def _run_loss(self, model: Any, inputs: dict[str, Any]) -> Tensor:
        """Score all pairs at once, then ask TRL for each pair's loss, because TRL returns only means of batches."""
        scored = score(model, inputs)
        losses = [self._trl_loss(*_one_pair(scored, inputs, index)) for index in range(len(inputs[WEIGHT]))]
        return torch.dot(inputs[WEIGHT], torch.stack(losses))

    def _trl_loss(self, model: Any, inputs: dict[str, Any]) -> Tensor:
        loss: Tensor = super().compute_loss(model, _without_weight(inputs))
        return loss

    def _split(self, inputs: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Yield the pairs of a batch in runs that are computed together.

        With several ranks each computes its share in one run, because they wait for each other at every backward pass.
        """
        if self.accelerator.num_processes > 1:
            yield inputs
            return
        texts = [
            ids[is_token].tolist()
            for ids, is_token in zip(inputs["input_ids"], inputs["attention_mask"].bool(), strict=True)
        ]
        pairs = len(inputs[WEIGHT])
        for run in self._runs_of_pairs([(texts[index], texts[pairs + index]) for index in range(pairs)]):
            yield _pairs_of(run, inputs)

    def _runs(self, rows: Sequence[Row]) -> Sequence[Sequence[int]]:
        return self._runs_of_pairs(
            [[row["prompt_ids"] + row[answer] for answer in ("chosen_ids", "rejected_ids")] for row in rows]
        )

    def _runs_of_pairs(self, pairs: Sequence[Sequence[list[int]]]) -> Sequence[Sequence[int]]:
        return self._plan.divide(pairs, in_trees=self.shares_prompts)

    def _get_train_sampler(self, train_dataset: Any = None) -> SiblingSampler:
        return SiblingSampler((train_dataset or self.train_dataset)["prompt_ids"], self.args.data_seed)


def _one_pair(scored: Any, inputs: dict[str, Any], index: int) -> tuple[Any, dict[str, Any]]:
    """Return one pair of a batch, and a stand-in for the model that returns the computed scores."""
    rows = _rows_of([index], inputs)
    outputs = SimpleNamespace(
        log_probs=scored.log_probs[rows],
        entropy=scored.entropy[rows],
        mean_logits=scored.mean_logits[rows],
        is_top1=scored.is_top1[rows],
    )
    return lambda **_inputs: outputs, _pairs_of([index], inputs)


def _pairs_of(run: Sequence[int], inputs: dict[str, Any]) -> dict[str, Any]:
    """Return the run's pairs from a batch."""
    rows = _rows_of(run, inputs)
    of_rows = {name: inputs[name][rows] for name in ("input_ids", "attention_mask", "completion_mask")}
    of_pairs = {name: inputs[name][list(run)] for name in (*PreferenceTrainer.reference_columns, WEIGHT)}
    return of_rows | of_pairs


def _rows_of(run: Sequence[int], inputs: dict[str, Any]) -> list[int]:
    """Return the run's rows, the chosen ones first, as TRL orders them."""
    return [*run, *(len(inputs[WEIGHT]) + index for index in run)]


class _PairCollator(DataCollatorForPreference):
    def torch_call(self, examples: list[Row]) -> dict[str, Any]:
        return {**super().torch_call(examples), WEIGHT: torch.tensor([row[WEIGHT] for row in examples])}


def _without_weight(inputs: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in inputs.items() if name != WEIGHT}


class _LossHistory(TrainerCallback):
    """Keeps the loss of every step and reports it."""

    def __init__(self, report: ReportProgress) -> None:
        self.losses: list[float] = []
        self._report = report

    def on_train_begin(self, _args: Any, state: Any, _control: Any, **_others: Any) -> None:
        self._report(RoundProgress(Phase.TRAINING, 0, state.max_steps))

    def on_log(self, _args: Any, state: Any, _control: Any, logs: dict[str, float], **_others: Any) -> None:
        if "loss" not in logs:
            return
        self.losses.append(logs["loss"])
        self._report(RoundProgress(Phase.TRAINING, state.global_step, state.max_steps, logs["loss"]))


class _BestPass(TrainerCallback):
    """Keeps the adapter of the pass with the lowest validation loss; stops training after `patience` worse passes."""

    def __init__(self, patience: int) -> None:
        self._patience = patience
        self._loss = float("inf")
        self._weights: dict[str, Tensor] = {}
        self._epoch: float | None = None
        self._waited = 0

    def on_evaluate(
        self, _args: Any, state: Any, control: Any, metrics: dict[str, float], model: Any, **_others: Any
    ) -> None:
        loss = metrics["eval_loss"]
        if not math.isfinite(loss):
            raise TrainingDiverged(state.global_step)
        if loss < self._loss:
            self._loss, self._epoch, self._waited = loss, state.epoch, 0
            self._weights = _copy_trained(model)
        else:
            self._waited += 1
        if self._waited >= self._patience:
            control.should_training_stop = True

    def restore(self, model: Any) -> float | None:
        """Restore the best weights and return their number of passes; None if nothing was validated."""
        for name, weight in _trained(model) if self._weights else ():
            weight.data.copy_(self._weights[name])
        return self._epoch


def _trained(model: Any) -> Iterator[tuple[str, Tensor]]:
    return ((name, weight) for name, weight in model.named_parameters() if weight.requires_grad)


def _restore_precision(model: Any) -> None:
    """Give the trained weights float32 again, and a starter's weights their own numbers.

    On a quantised base TRL rounds them to bfloat16, but not the reference: a starter would differ from itself before
    the first step, and steps smaller than a 256th of a weight would be lost.
    """
    for name, weight in _trained(model):
        if weight.dtype is not torch.float32:
            exact = model.get_parameter(name.replace(".default.", ".ref.")) if "ref" in model.peft_config else weight
            weight.data = exact.detach().float().clone()


def _copy_trained(model: Any) -> dict[str, Tensor]:
    return {name: weight.detach().clone() for name, weight in _trained(model)}
