"""What a round learns from: votes, or the examples on a card."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from storage.models.base_model import BaseModel
from storage.releases.versions import Continuation
from trainer.evaluation.gate import EvidenceKind, HeldOut
from trainer.progress import Report
from trainer.training.common import TrainingMetrics


class TrainingSet(Protocol):
    """Everything a round needs to know of its lessons, once its manifest is written."""

    witness: EvidenceKind

    @property
    def continuation(self) -> Continuation:
        """The version to go on from, and those that are passed over."""
        ...

    def train(self, *, base: BaseModel, parent: Path | None, output: Path, report: Report) -> TrainingMetrics:
        """Train an adapter from the parent's files into `output`; raises TrainerError and TrainingDiverged."""
        ...

    def held_out(self, metrics: TrainingMetrics) -> list[HeldOut]:
        """Return what training never saw, with the margins that were measured."""
        ...

    def describe(self, metrics: Mapping[str, Any]) -> str:
        """Return what was learned from, in words, from the numbers of the round."""
        ...


def with_margins(prompts: Sequence[tuple[str, float]], margins: Sequence[float | None]) -> list[HeldOut]:
    """Return the held-out answers, (prompt, weight) each, whose margin is known."""
    return [
        HeldOut(prompt, margin, weight)
        for (prompt, weight), margin in zip(prompts, margins, strict=True)
        if margin is not None
    ]


def kept_apart(metrics: Mapping[str, Any]) -> Iterator[str]:
    """Yield what was not trained on, and why."""
    for name, what in (("holdout_pairs", "held out"), ("left_out", "left out as longer than training.max_tokens")):
        if metrics[name]:
            yield f"{metrics[name]} {what}"


def in_brackets(parts: Sequence[str]) -> str:
    return f" ({', '.join(parts)})" if parts else ""
