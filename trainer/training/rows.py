"""Training examples and their token ids."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from storage.models.chat_format import ChatFormat

WEIGHT = "weight"
COMPLETION = "completion_ids"
ANSWERS = ("chosen_ids", "rejected_ids", COMPLETION)
Row = dict[str, Any]
"""An example as token ids."""


@dataclass(frozen=True)
class PreferencePair:
    """Two answers to one prompt. The prompt is the text that the model is served, special tokens included."""

    prompt: str
    chosen: str
    rejected: str
    weight: float = 1.0
    """Factor of the pair's loss."""
    chosen_is_cut: bool = False
    """True if a length limit cut it. It then gets no end token, or the model would learn to stop mid-sentence."""
    rejected_is_cut: bool = False


@dataclass(frozen=True)
class Demonstration:
    """A prompt, as the model is served it, and a whole answer to it in the personality's voice."""

    prompt: str
    answer: str
    weight: ClassVar[float] = 1.0


Example = PreferencePair | Demonstration


def pair_row(pair: PreferencePair, chat: ChatFormat) -> Row:
    context = chat.context_of(pair.prompt)
    context_ids = chat.token_ids(context)
    return {
        "prompt_ids": context_ids,
        "chosen_ids": _answer_ids(context_ids, context, pair.chosen, chat, is_cut=pair.chosen_is_cut),
        "rejected_ids": _answer_ids(context_ids, context, pair.rejected, chat, is_cut=pair.rejected_is_cut),
        WEIGHT: pair.weight,
    }


def demonstration_row(demonstration: Demonstration, chat: ChatFormat) -> Row:
    context = chat.context_of(demonstration.prompt)
    context_ids = chat.token_ids(context)
    return {
        "prompt_ids": context_ids,
        "completion_ids": _answer_ids(context_ids, context, demonstration.answer, chat, is_cut=False),
    }


def _answer_ids(context_ids: list[int], context: str, answer: str, chat: ChatFormat, *, is_cut: bool) -> list[int]:
    """Return the answer's tokens as they follow the context, with the end of the turn unless the answer was cut."""
    together = chat.token_ids(context + chat.space + answer)
    # Usually the context's tokens come first. If a token would span the border, the answer is tokenised alone, because
    # the served model generates after the context's own tokens.
    is_prefix = together[: len(context_ids)] == context_ids
    ids = together[len(context_ids) :] if is_prefix else chat.token_ids(chat.space + answer)
    while ids and ids[-1] in chat.end_ids:
        ids.pop()
    return ids if is_cut else [*ids, chat.end_of_turn]


def row_tokens(row: Row) -> int:
    """Return the number of tokens of the prompt with its longest answer."""
    return len(row["prompt_ids"]) + max(map(len, answers_of(row)))


def answers_of(row: Row) -> list[list[int]]:
    """Return the two answers of a pair, or the one of a demonstration."""
    return [row[name] for name in ANSWERS if name in row]
