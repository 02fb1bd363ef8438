"""A model as TRL calls it, with only answers projected to words. Imports torch: import it late."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

IGNORED = -100  # TRL's label of what is no completion


def score(model: Any, inputs: dict[str, Any]) -> Any:
    """Return what TRL's head returns of `inputs`: log-probabilities of the completions' tokens, (B, T - 1), in nats."""
    labels = inputs["input_ids"].masked_fill(inputs["completion_mask"] == 0, IGNORED)
    return model(
        input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"], labels=labels, fused_lm_head=True
    )


def separate_rows(model: Any) -> Any:
    """Return the model with the head that is quick where it computes."""
    return model if model.device.type == "cuda" else CompletionScorer(model)


class CompletionScorer:
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
        return scored(logits[is_target[:, first:]], targets, is_target)


def scored(logits: Tensor, targets: Tensor, is_target: Tensor) -> Any:
    """Return what TRL's own head does; `logits` are those of the targets, in the order of the rows."""
    logps = -cross_entropy(logits.float(), targets[is_target], reduction="none")
    nothing = torch.zeros(targets.shape, device=logps.device)
    return SimpleNamespace(
        log_probs=logps.new_zeros(targets.shape).masked_scatter(is_target, logps),
        label_mask=is_target,
        entropy=nothing,
        mean_logits=nothing,
        is_top1=nothing.bool(),
    )
