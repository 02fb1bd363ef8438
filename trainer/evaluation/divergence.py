"""How far an adapter moved the base: the divergence of its next words from the base's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from trainer.evaluation.likelihood import ScoredPassage, batches, target_logps


def mean_divergence(model: Any, answers: Sequence[ScoredPassage]) -> float:
    """Return the mean KL(adapter || base) over all answer tokens, in nats, of the distributions at temperature 1.

    `model` is the base under its adapter (a PeftModel); the answers are the adapter's own.
    """
    total, tokens = 0.0, 0
    for batch in batches(model, answers):
        with_adapter = target_logps(model, batch)
        with model.disable_adapter():
            without = target_logps(model, batch)
        divergences = (with_adapter.exp() * (with_adapter - without)).sum(dim=-1)
        total += float(divergences.double().sum())
        tokens += len(divergences)
    return total / tokens if tokens else float("nan")
