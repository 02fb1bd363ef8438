"""TRL's DPOTrainer, fed with token ids instead of text, every row with its weight.

Imports torch: import it late.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from functools import cached_property
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor
from trl import DPOTrainer
from trl.trainer.dpo_trainer import DataCollatorForPreference
from trl.trainer.utils import use_adapter

from trainer.training.common import MAX_BATCH_TOKENS, MAX_TREE_TOKENS, Row, longest_row
from trainer.training.row_trainer import RowTrainer
from trainer.training.scoring import score
from trainer.training.shared_prompts import SharedPromptScorer, SiblingSampler, reason_not_to_share, split_by_tokens

log = logging.getLogger(__name__)
WEIGHT = "weight"


class PreferenceTrainer(RowTrainer, DPOTrainer):  # type: ignore[misc]
    """DPO on rows of prompt_ids, chosen_ids, rejected_ids and weight, each prompt computed once for all its answers.

    A step takes `per_device_train_batch_size` pairs and computes them in runs of MAX_TREE_TOKENS, backwards as well, so
    memory depends on the length of a run and not on the size of the step. The pairs of a prompt follow one another
    (`SiblingSampler`). Models that do not serve trees of tokens get a row for each answer, as with TRL, and a warning
    says so.
    """

    # `compute_loss` divides by a step's rows itself: a mean of micro-batches' means would favour a smaller last one.
    loss_is_scaled_for_ga = True

    reference_columns = ("ref_chosen_logps", "ref_rejected_logps")

    train_dataset: Any

    def __init__(self, *, processing_class: Any, **arguments: Any) -> None:
        collator = _PairCollator(pad_token_id=processing_class.pad_token_id)
        super().__init__(processing_class=processing_class, data_collator=collator, **arguments)

    def pair_margins(self, rows: Sequence[Row | None]) -> list[float | None]:
        """Return beta * (log-ratio of chosen - log-ratio of rejected) to the parent, in nats; None for None."""
        return [None if row is None else self._margin(row) for row in rows]

    def _margin(self, row: Row) -> float:
        answers = [row["chosen_ids"], row["rejected_ids"]]
        policy = self.answer_logps(row["prompt_ids"], answers)
        # TRL's name of the parent; without a parent the base is the reference.
        with use_adapter(self.model, "ref" if "ref" in self.model.peft_config else None):
            reference = self.answer_logps(row["prompt_ids"], answers)
        chosen, rejected = policy - reference
        return float(self.beta * (chosen - rejected))

    def get_batch_samples(self, *arguments: Any) -> tuple[list[dict[str, Any]], int]:
        """Return the micro-batches of a step and how many rows they hold together, which `compute_loss` divides by."""
        batches, _ = super().get_batch_samples(*arguments)
        return batches, sum(len(batch[WEIGHT]) for batch in batches)

    def compute_loss(self, model: Any, inputs: dict[str, Any], **options: Any) -> Tensor:
        """Return the sum of weight * loss over the rows, divided by the step's rows (by these rows in validation)."""
        return self._loss_sum(self.scorer(model), inputs) / (options.get("num_items_in_batch") or len(inputs[WEIGHT]))

    def compute_ref_log_probs(self, model: Any, inputs: dict[str, Any]) -> Any:
        return super().compute_ref_log_probs(self.scorer(model), _without_weight(inputs))

    def _precompute_ref_logps(self, dataset: Any, _name: str, _batch_size: int) -> Any:
        """Add the columns `reference_columns`, in nats, without TRL's cache files and bars."""
        rows = dataset.to_list()
        batches = [self._reference([rows[index] for index in run]) for run in self._runs(rows)]
        for name, parts in zip(self.reference_columns, zip(*batches, strict=True), strict=True):
            dataset = dataset.add_column(name, torch.cat(parts).tolist())
        return dataset

    def _reference(self, rows: Sequence[Row]) -> tuple[Tensor, Tensor]:
        inputs = self._prepare_inputs(self.data_collator(rows))
        logps: tuple[Tensor, Tensor] = self.compute_ref_log_probs(self.model, inputs)
        return logps

    @cached_property
    def shares_prompts(self) -> bool:
        """Whether the model serves trees of tokens, found out on the longest of the rows, where windows show."""
        reason = self._reason_not_to_share(max(self.train_dataset, key=lambda row: longest_row([row])))
        if reason is not None:
            log.warning("This model computes every prompt again for each of its answers: %s.", reason)
        return reason is None

    def _reason_not_to_share(self, row: Row) -> str | None:
        # Where one answer is seen by the other, the other becomes a repetition, which models find likely.
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

    def _training_run(self, *arguments: Any) -> Tensor:
        return super().training_step(*arguments)

    def _loss_sum(self, model: Any, inputs: dict[str, Any]) -> Tensor:
        return torch.stack([self._run_loss(model, run) for run in self._split(inputs)]).sum()

    def _run_loss(self, model: Any, inputs: dict[str, Any]) -> Tensor:
        """Score all pairs at once, then let TRL say the loss of each by itself, as it tells only means of batches."""
        scored = score(model, inputs)
        losses = [self._trl_loss(*_one_pair(scored, inputs, index)) for index in range(len(inputs[WEIGHT]))]
        return torch.dot(inputs[WEIGHT], torch.stack(losses))

    def _trl_loss(self, model: Any, inputs: dict[str, Any]) -> Tensor:
        loss: Tensor = super().compute_loss(model, _without_weight(inputs))
        return loss

    def _split(self, inputs: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Yield the pairs of a batch in runs that are computed at once.

        Of several ranks each computes its share whole: they wait for each other at every backward pass.
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
        if self.shares_prompts:
            return split_by_tokens(pairs, MAX_TREE_TOKENS)
        at_once = max(1, MAX_BATCH_TOKENS // (2 * max(len(text) for pair in pairs for text in pair)))
        return [range(len(pairs))[start : start + at_once] for start in range(0, len(pairs), at_once)]

    def _get_train_sampler(self, train_dataset: Any = None) -> SiblingSampler:
        return SiblingSampler((train_dataset or self.train_dataset)["prompt_ids"], self.args.data_seed)


def _one_pair(scored: Any, inputs: dict[str, Any], index: int) -> tuple[Any, dict[str, Any]]:
    """Return one pair of a batch, and a model that says what was scored already, whatever it is asked."""
    rows = _rows_of([index], inputs)
    outputs = SimpleNamespace(
        log_probs=scored.log_probs[rows],
        entropy=scored.entropy[rows],
        mean_logits=scored.mean_logits[rows],
        is_top1=scored.is_top1[rows],
    )
    return lambda **_inputs: outputs, _pairs_of([index], inputs)


def _pairs_of(run: Sequence[int], inputs: dict[str, Any]) -> dict[str, Any]:
    """Return those pairs of a batch."""
    rows = _rows_of(run, inputs)
    of_rows = {name: inputs[name][rows] for name in ("input_ids", "attention_mask", "completion_mask")}
    of_pairs = {name: inputs[name][list(run)] for name in (*PreferenceTrainer.reference_columns, WEIGHT)}
    return of_rows | of_pairs


def _rows_of(run: Sequence[int], inputs: dict[str, Any]) -> list[int]:
    """Return the rows of those pairs, the chosen ones first, as TRL has them."""
    return [*run, *(len(inputs[WEIGHT]) + index for index in run)]


class _PairCollator(DataCollatorForPreference):  # type: ignore[misc]
    def torch_call(self, examples: list[Row]) -> dict[str, Any]:
        return {**super().torch_call(examples), WEIGHT: torch.tensor([row[WEIGHT] for row in examples])}


def _without_weight(inputs: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in inputs.items() if name != WEIGHT}
