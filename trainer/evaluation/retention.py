"""What a version kept of the base's skill with everyday text that no vote is about."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

from trainer.evaluation.likelihood import ScoredPassage, mean_loss

TEXT_FILE = "retention.txt"


def retention_text() -> str:
    """Return passages of varied everyday text, separated by lines of "---"; written for this project."""
    return files("trainer.evaluation").joinpath(TEXT_FILE).read_text(encoding="utf-8")


def retention_loss(model: Any, tokenizer: Any) -> float:
    """Return the mean loss per token of the retention text, in nats; the first token of each passage is given."""
    return mean_loss(model, [_passage(text, tokenizer) for text in retention_text().split("\n---\n")])


def _passage(text: str, tokenizer: Any) -> ScoredPassage:
    first, *rest = tokenizer(text.strip())["input_ids"]
    return ScoredPassage([first], rest)
