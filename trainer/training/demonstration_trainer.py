"""TRL's SFTTrainer, fed with token ids instead of text. Imports torch: import it late."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor
from trl import SFTTrainer
from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

from trainer.training.common import Row
from trainer.training.row_trainer import RowTrainer
from trainer.training.scoring import IGNORED


class DemonstrationTrainer(RowTrainer, SFTTrainer):  # type: ignore[misc]
    """SFT on rows of prompt_ids and completion_ids; the loss is the mean over a step's completion tokens."""

    def __init__(self, *, processing_class: Any, **arguments: Any) -> None:
        collator = _DemonstrationCollator(pad_token_id=processing_class.pad_token_id)
        super().__init__(processing_class=processing_class, data_collator=collator, **arguments)

    def token_logps(self, rows: Sequence[Row | None]) -> list[float | None]:
        """Return the mean log-probability of each completion's tokens, in nats; None for None."""
        return [None if row is None else self._token_logp(row) for row in rows]

    def _token_logp(self, row: Row) -> float:
        total = self.answer_logps(row["prompt_ids"], [row["completion_ids"]])
        return float(total) / len(row["completion_ids"])

    def compute_loss(self, model: Any, inputs: dict[str, Any], **options: Any) -> Tensor:
        loss: Tensor = super().compute_loss(self.scorer(model), inputs, **options)
        return loss


class _DemonstrationCollator(DataCollatorForLanguageModeling):  # type: ignore[misc]
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
