"""How well answers hang together: their loss under a model that did not give them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest
from statistics import fmean
from typing import Any

from trainer.evaluation.likelihood import ScoredPassage, token_losses


def answer_losses(model: Any, tokenizer: Any, exchanges: Sequence[tuple[str, str]]) -> list[list[float]]:
    """Return the loss of each answer's tokens, in nats and in order; an exchange is (message, answer).

    The model reads each exchange as plain dialogue, so that it needs no chat tuning; the answer's end is not among its
    tokens. Empty answers are skipped.
    """
    return token_losses(
        model, [_passage(message, answer, tokenizer) for message, answer in exchanges if answer.strip()]
    )


def losses_by_position(losses: Sequence[Sequence[float]]) -> tuple[float, ...]:
    """Return the mean loss of all answers' first tokens, of their second ones, and so on.

    The last mean is that of all tokens from the last position that half of the answers reach: beyond it there are few,
    and a single one must not stand for all that longer answers say.
    """
    by_position = [[loss for loss in tokens if loss is not None] for tokens in zip_longest(*losses)]
    usual = sum(2 * len(tokens) >= sum(map(bool, losses)) for tokens in by_position)
    pooled = [*by_position[: usual - 1], [loss for tokens in by_position[usual - 1 :] for loss in tokens]]
    return tuple(map(fmean, pooled)) if by_position else ()


def surprise_ratio(losses: Sequence[Sequence[float]], baseline: Sequence[float]) -> float:
    """Return the loss of all answers over what the baseline's tokens cost at the same positions.

    The first words of any answer surprise most: the base's own answers, cut after ten words, cost 1.13 times as much a
    token as whole ones. So like is set against like (indirect standardisation), or short answers would seem incoherent.
    Beyond the baseline's last position its last mean counts. NaN without answers or without a baseline.
    """
    tokens = [(position, loss) for answer in losses for position, loss in enumerate(answer)]
    if not tokens or not baseline:
        return float("nan")
    last = len(baseline) - 1
    expected = sum(baseline[min(position, last)] for position, _ in tokens)
    return sum(loss for _, loss in tokens) / expected


def _passage(message: str, answer: str, tokenizer: Any) -> ScoredPassage:
    # With the tokenizer's own first token: Gemma's loss more than doubles without it.
    context = tokenizer(f"User: {message.strip()}\nBot:")["input_ids"]
    return ScoredPassage(context, tokenizer(f" {answer.strip()}", add_special_tokens=False)["input_ids"])
