"""How well answers hang together: their loss under a model that did not give them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from trainer.likelihood import Passage, mean_loss


def mean_answer_loss(model: Any, tokenizer: Any, exchanges: Sequence[tuple[str, str]]) -> float:
    """Return the mean loss per token, in nats, of answers to messages; an exchange is (message, answer).

    The model reads each exchange as plain dialogue, so that it needs no chat tuning; the answer's tokens alone count,
    its end not among them. Empty answers are skipped; NaN where no others are.
    """
    return mean_loss(model, [_passage(message, answer, tokenizer) for message, answer in exchanges if answer.strip()])


def _passage(message: str, answer: str, tokenizer: Any) -> Passage:
    # With the tokenizer's own first token: Gemma's loss more than doubles without it.
    context = tokenizer(f"User: {message.strip()}\nBot:")["input_ids"]
    return Passage(context, tokenizer(f" {answer.strip()}", add_special_tokens=False)["input_ids"])
