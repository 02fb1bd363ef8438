"""What a model thinks of text that stands already: log-probabilities, many passages at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from statistics import fmean
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

MAX_LOGITS = 2**25
"""Most numbers in one batch's logits, 128 MiB in float32: a large vocabulary gets small batches."""


@dataclass(frozen=True)
class ScoredPassage:
    """Tokens to judge, and those that come before them and are only read."""

    context_ids: Sequence[int]
    """At least one."""
    target_ids: Sequence[int]

    @property
    def length(self) -> int:
        return len(self.context_ids) + len(self.target_ids)


def mean_loss(model: Any, passages: Sequence[ScoredPassage]) -> float:
    """Return the mean negative log-probability over all target tokens, in nats; NaN where there are none."""
    losses = [loss for of_passage in token_losses(model, passages) for loss in of_passage]
    return fmean(losses) if losses else float("nan")


def token_losses(model: Any, passages: Sequence[ScoredPassage]) -> list[list[float]]:
    """Return the negative log-probability of every target token, in nats, passage by passage in their order."""
    losses: dict[int, list[float]] = {}
    for batch in batches(model, passages):
        targets = _targets(model, batch)
        found = iter((-target_logps(model, batch).gather(-1, targets[:, None])[:, 0]).tolist())
        losses |= {id(passage): list(islice(found, len(passage.target_ids))) for passage in batch}
    return [losses[id(passage)] for passage in passages]


def batches(model: Any, passages: Sequence[ScoredPassage]) -> Iterator[list[ScoredPassage]]:
    """Yield all passages, shortest first, in batches whose logits fit into MAX_LOGITS (or of one passage)."""
    most_positions = MAX_LOGITS // model.config.get_text_config().vocab_size
    batch: list[ScoredPassage] = []
    for passage in sorted(passages, key=lambda passage: passage.length):
        if batch and (len(batch) + 1) * passage.length > most_positions:
            yield batch
            batch = []
        batch.append(passage)
    if batch:
        yield batch


def target_logps(model: Any, batch: Sequence[ScoredPassage]) -> Tensor:
    """Return log-probabilities of the whole vocabulary at each target token, (tokens, V) in float32.

    One passage's tokens follow another's, in the order of the batch.
    """
    import torch

    width = max(passage.length for passage in batch)
    first = min(len(passage.context_ids) for passage in batch) - 1
    ids = torch.zeros(len(batch), width, dtype=torch.long)
    is_text, predicts_target = torch.zeros_like(ids), torch.zeros_like(ids, dtype=torch.bool)
    for row, passage in enumerate(batch):
        # Padding follows the text, where it changes nothing that is read.
        ids[row, : passage.length] = torch.tensor([*passage.context_ids, *passage.target_ids])
        is_text[row, : passage.length] = 1
        predicts_target[row, len(passage.context_ids) - 1 : passage.length - 1] = True
    kept = torch.arange(first, width - 1)
    with torch.inference_mode():
        logits = model(
            input_ids=ids.to(model.device),
            attention_mask=is_text.to(model.device),
            logits_to_keep=kept.to(model.device),
            use_cache=False,
        ).logits
        return torch.log_softmax(logits[predicts_target[:, kept].to(model.device)].float(), dim=-1)


def _targets(model: Any, batch: Sequence[ScoredPassage]) -> Tensor:
    import torch

    return torch.tensor([token for passage in batch for token in passage.target_ids], device=model.device)
