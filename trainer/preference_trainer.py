"""TRL's DPOTrainer and KTOTrainer, fed with token ids instead of text, every row with its weight.

Imports torch: import it late.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar

import torch
from datasets import Dataset
from peft.helpers import disable_input_dtype_casting
from torch import Tensor
from torch.nn.functional import cross_entropy, pad
from transformers import PrinterCallback
from trl import DPOTrainer, KTOTrainer
from trl.trainer.dpo_trainer import DataCollatorForPreference
from trl.trainer.kto_trainer import DataCollatorForUnpairedPreference
from trl.trainer.utils import use_adapter

from storage.base_model import BaseModel
from storage.settings import TrainingSettings
from trainer.callbacks import BestPass, LossHistory
from trainer.errors import TrainingDiverged
from trainer.progress import Report
from trainer.training import Course, Row, load_policy, longest_row, new_adapter

IGNORED = -100  # TRL's label of what is no completion
WEIGHT = "weight"


class _RowTrainer:
    """What both trainers do differently from TRL's; it stands before TRL's class among the bases.

    Rows come tokenised, because TRL would add special tokens to prompts that hold them already. Raises TrainingDiverged
    on a loss that is no number.
    """

    # `compute_loss` divides by a step's rows itself: a mean of micro-batches' means would favour a smaller last one.
    loss_is_scaled_for_ga = True

    # TRL has no type hints that mypy follows.
    model: Any
    accelerator: Any
    state: Any
    args: Any
    beta: float

    reference_columns: tuple[str, str]

    def __init__(self, *, processing_class: Any, patience: int, report: Report, **arguments: Any) -> None:
        super().__init__(processing_class=processing_class, **arguments)  # type: ignore[call-arg]
        self.remove_callback(PrinterCallback)  # type: ignore[attr-defined]
        self._history, self._best = LossHistory(report), BestPass(patience)
        self.add_callback(self._history)  # type: ignore[attr-defined]
        self.add_callback(self._best)  # type: ignore[attr-defined]
        self._collate_answers = DataCollatorForUnpairedPreference(pad_token_id=processing_class.pad_token_id)

    def learn(self) -> Course:
        """Train; where there are validation rows, leave the adapter as it was after its best pass."""
        # Autocast gives LoRA's products bfloat16 inputs either way: PEFT's detour through float32 changes no bit.
        with disable_input_dtype_casting(self.model):
            outcome = self.train()  # type: ignore[attr-defined]
        epochs = self._best.restore(self.model)
        return Course(
            tuple(self._history.losses), outcome.training_loss, self.state.epoch if epochs is None else epochs
        )

    def pair_margins(self, rows: Sequence[Row | None]) -> list[float | None]:
        """Return beta * (log-ratio of chosen - log-ratio of rejected) to the parent, in nats; None for None."""
        return [None if row is None else self._margin(row) for row in rows]

    def _margin(self, row: Row) -> float:
        chosen, rejected = self._log_ratios(row["prompt_ids"], [row["chosen_ids"], row["rejected_ids"]])
        return self.beta * (chosen - rejected)

    def _log_ratios(self, prompt_ids: list[int], answers: Sequence[list[int]]) -> list[float]:
        """Return how much likelier each answer to one prompt is than it is to the parent, in nats."""
        rows = [{"prompt_ids": prompt_ids, "completion_ids": answer, "label": True} for answer in answers]
        inputs = self._prepare_inputs(self._collate_answers(rows))  # type: ignore[attr-defined]
        policy = self._logps(inputs)
        # TRL's name of the parent; without a parent the base is the reference.
        with use_adapter(self.model, "ref" if "ref" in self.model.peft_config else None):
            reference = self._logps(inputs)
        return [float(ratio) for ratio in policy - reference]

    def _logps(self, inputs: dict[str, Tensor]) -> Tensor:
        """Return the completions' log-probabilities, (B,), in nats."""
        self.model.eval()
        with torch.no_grad(), self.accelerator.autocast():
            total: Tensor = _score(_scorer(self.model), inputs).log_probs.sum(dim=1)
        return total

    def get_batch_samples(self, *arguments: Any) -> tuple[list[dict[str, Any]], int]:
        """Return the micro-batches of a step and how many rows they hold together, which `compute_loss` divides by."""
        batches, _ = super().get_batch_samples(*arguments)  # type: ignore[misc]
        return batches, sum(len(batch[WEIGHT]) for batch in batches)

    def compute_loss(self, model: Any, inputs: dict[str, Any], **options: Any) -> Tensor:
        """Return the sum of weight * loss over the rows, divided by the step's rows (by these rows in validation)."""
        return self._loss_sum(_scorer(model), inputs) / (options.get("num_items_in_batch") or len(inputs[WEIGHT]))

    def _loss_sum(self, model: Any, inputs: dict[str, Any]) -> Tensor:
        raise NotImplementedError

    def _trl_loss(self, model: Any, inputs: dict[str, Any]) -> Tensor:
        loss: Tensor = super().compute_loss(model, _without_weight(inputs))  # type: ignore[misc]
        return loss

    def training_step(self, *arguments: Any, **options: Any) -> Tensor:
        loss: Tensor = super().training_step(*arguments, **options)  # type: ignore[misc]
        if not torch.isfinite(loss):
            raise TrainingDiverged(self.state.global_step + 1)
        return loss

    def compute_ref_log_probs(self, model: Any, inputs: dict[str, Any]) -> Any:
        return super().compute_ref_log_probs(_scorer(model), _without_weight(inputs))  # type: ignore[misc]

    def _precompute_ref_logps(self, dataset: Any, _name: str, batch_size: int) -> Any:
        """Add the columns `reference_columns`, in nats, without TRL's cache files and bars."""
        rows = dataset.to_list()
        batches = [self._reference(rows[start : start + batch_size]) for start in range(0, len(rows), batch_size)]
        for name, parts in zip(self.reference_columns, zip(*batches, strict=True), strict=True):
            dataset = dataset.add_column(name, torch.cat(parts).tolist())
        return dataset

    def _reference(self, rows: Sequence[Row]) -> tuple[Tensor, Tensor]:
        inputs = self._prepare_inputs(self.data_collator(rows))  # type: ignore[attr-defined]
        logps: tuple[Tensor, Tensor] = self.compute_ref_log_probs(self.model, inputs)
        return logps

    def _prepare_dataset(self, dataset: Any, *_arguments: Any) -> Any:
        return dataset

    def _send_telemetry(self) -> None:
        """A self-hosted bot tells nobody that it trains."""


class PreferenceTrainer(_RowTrainer, DPOTrainer):  # type: ignore[misc]
    """DPO on rows of prompt_ids, chosen_ids, rejected_ids and weight."""

    reference_columns = ("ref_chosen_logps", "ref_rejected_logps")

    def __init__(self, *, processing_class: Any, **arguments: Any) -> None:
        collator = _PairCollator(pad_token_id=processing_class.pad_token_id)
        super().__init__(processing_class=processing_class, data_collator=collator, **arguments)

    def _loss_sum(self, model: Any, inputs: dict[str, Any]) -> Tensor:
        """Score all pairs at once, then let TRL say the loss of each by itself, as it tells only means of batches."""
        scored = _score(model, inputs)
        losses = [self._trl_loss(*_one_pair(scored, inputs, index)) for index in range(len(inputs[WEIGHT]))]
        return torch.dot(inputs[WEIGHT], torch.stack(losses))


def _one_pair(scored: Any, inputs: dict[str, Any], index: int) -> tuple[Any, dict[str, Any]]:
    """Return one pair of a batch, and a model that says what was scored already, whatever it is asked."""
    rows = torch.tensor([index, len(inputs[WEIGHT]) + index])
    outputs = SimpleNamespace(
        log_probs=scored.log_probs[rows],
        entropy=scored.entropy[rows],
        mean_logits=scored.mean_logits[rows],
        is_top1=scored.is_top1[rows],
    )
    pair = {name: inputs[name][rows] for name in ("input_ids", "attention_mask", "completion_mask")}
    reference = {name: inputs[name][index : index + 1] for name in PreferenceTrainer.reference_columns}
    return lambda **_inputs: outputs, pair | reference


class AnswerTrainer(_RowTrainer, KTOTrainer):  # type: ignore[misc]
    """KTO on rows of prompt_ids, completion_ids, KL_completion_ids (another row's), label and weight, in order."""

    reference_columns = ("ref_logps", "ref_KL_logps")

    def __init__(self, *, processing_class: Any, **arguments: Any) -> None:
        collator = _AnswerCollator(pad_token_id=processing_class.pad_token_id)
        super().__init__(processing_class=processing_class, data_collator=collator, **arguments)

    def single_margins(self, rows: Sequence[Row | None]) -> list[float | None]:
        """Return by how much beta * log-ratio to the parent is above the rows' mean, or below it where label is False.

        In nats; None for None.
        """
        rewards = [None if row is None else self._reward(row) for row in rows]
        known = [reward for reward in rewards if reward is not None]
        return [
            None if row is None or reward is None else (reward - sum(known) / len(known)) * (1 if row["label"] else -1)
            for row, reward in zip(rows, rewards, strict=True)
        ]

    def _reward(self, row: Row) -> float:
        (log_ratio,) = self._log_ratios(row["prompt_ids"], [row["completion_ids"]])
        return self.beta * log_ratio

    def _loss_sum(self, model: Any, inputs: dict[str, Any]) -> Tensor:
        liked, weight = inputs["label"], inputs[WEIGHT]
        # TRL multiplies the losses of each kind, in the order of the batch, by these.
        self.desirable_weight = self.args.desirable_weight * weight[liked]
        self.undesirable_weight = self.args.undesirable_weight * weight[~liked]
        return len(weight) * self._trl_loss(model, inputs)


Trainer = TypeVar("Trainer", PreferenceTrainer, AnswerTrainer)


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
    """Return a trainer that goes on from `parent` (from nothing where None), with the parent as its reference.

    `configure` is asked for TRL's settings with the longest row's tokens and whether it `validates`; only with
    `settings.patience` it does.
    """
    validation_rows = validation_rows if settings.patience else []
    longest = longest_row([*rows, *validation_rows])
    return kind(
        model=load_policy(base, parent, settings.dtype, longest),
        peft_config=None if parent else new_adapter(settings),
        processing_class=tokenizer,
        args=configure(longest, validates=bool(validation_rows)),
        train_dataset=Dataset.from_list(rows),
        eval_dataset=Dataset.from_list(validation_rows) if validation_rows else None,
        patience=settings.patience,
        report=report,
    )


class _WeightedCollator:
    def torch_call(self, examples: list[Row]) -> dict[str, Any]:
        inputs: dict[str, Any] = super().torch_call(examples)  # type: ignore[misc]
        return {**inputs, WEIGHT: torch.tensor([row[WEIGHT] for row in examples])}


class _PairCollator(_WeightedCollator, DataCollatorForPreference):  # type: ignore[misc]
    pass


class _AnswerCollator(_WeightedCollator, DataCollatorForUnpairedPreference):  # type: ignore[misc]
    pass


def _score(model: Any, inputs: dict[str, Any]) -> Any:
    labels = inputs["input_ids"].masked_fill(inputs["completion_mask"] == 0, IGNORED)
    return model(
        input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"], labels=labels, fused_lm_head=True
    )


class _CompletionScorer:
    """A model as TRL calls it, which projects only the columns of completions to the vocabulary.

    TRL's own head does so on GPUs; elsewhere it projects the prompt as well, in pieces and partly in float32, which
    took two fifths of a step on a CPU.
    """

    def __init__(self, model: Any) -> None:
        self._model = model

    def __call__(self, *, labels: Tensor, fused_lm_head: bool, **inputs: Any) -> Any:
        """Return `log_probs`, (B, T - 1), in nats, 0 where the label is none. What TRL only logs is 0 throughout."""
        assert fused_lm_head, "TRL asks for log-probabilities"
        targets = labels[:, 1:]
        is_target = targets != IGNORED
        first = int(is_target.any(dim=0).int().argmax())
        # Indices, not a number of columns: the slice that a number gives makes PyTorch copy the head for every row.
        kept = torch.arange(first, targets.shape[1], device=targets.device)
        logits = self._model(**{**inputs, "use_cache": False}, logits_to_keep=kept).logits
        is_kept = is_target[:, first:]
        logps = -cross_entropy(logits[is_kept].float(), targets[:, first:][is_kept], reduction="none")
        per_column = logps.new_zeros(is_kept.shape).masked_scatter(is_kept, logps)
        nothing = torch.zeros(targets.shape, device=logps.device)
        return SimpleNamespace(
            log_probs=pad(per_column, (first, 0)), entropy=nothing, mean_logits=nothing, is_top1=nothing.bool()
        )


def _scorer(model: Any) -> Any:
    return model if model.device.type == "cuda" else _CompletionScorer(model)


def _without_weight(inputs: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in inputs.items() if name != WEIGHT}
