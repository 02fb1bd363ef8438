"""Examples to train on, and their token ids."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

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
    """It ended at a length limit. It then gets no end token, or the model would learn to stop in mid-sentence."""
    rejected_is_cut: bool = False


@dataclass(frozen=True)
class Demonstration:
    """A whole answer in the personality's voice to a prompt, which is the text that the model is served."""

    prompt: str
    answer: str
    weight: ClassVar[float] = 1.0


Example = PreferencePair | Demonstration


def pair_row(pair: PreferencePair, tokenizer: Any) -> Row:
    prompt_ids = token_ids(pair.prompt, tokenizer)
    return {
        "prompt_ids": prompt_ids,
        "chosen_ids": _answer_ids(prompt_ids, pair.prompt, pair.chosen, tokenizer, is_cut=pair.chosen_is_cut),
        "rejected_ids": _answer_ids(prompt_ids, pair.prompt, pair.rejected, tokenizer, is_cut=pair.rejected_is_cut),
        WEIGHT: pair.weight,
    }


def demonstration_row(demonstration: Demonstration, tokenizer: Any) -> Row:
    prompt, answer = demonstration.prompt, demonstration.answer
    prompt_ids = token_ids(prompt, tokenizer)
    return {
        "prompt_ids": prompt_ids,
        "completion_ids": _answer_ids(prompt_ids, prompt, answer, tokenizer, is_cut=False),
    }


def token_ids(text: str, tokenizer: Any) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def _answer_ids(prompt_ids: list[int], prompt: str, answer: str, tokenizer: Any, *, is_cut: bool) -> list[int]:
    """Return the answer's tokens as they follow the served prompt, with one end token unless the answer was cut."""
    together = token_ids(prompt + answer, tokenizer)
    # Usually the prompt's tokens come first. If a token would span the border, the answer is tokenised alone, because
    # serving generates after the prompt's own tokens.
    is_prefix = together[: len(prompt_ids)] == prompt_ids
    ids = together[len(prompt_ids) :] if is_prefix else token_ids(answer, tokenizer)
    while ids and ids[-1] == tokenizer.eos_token_id:
        ids.pop()
    return ids if is_cut else [*ids, tokenizer.eos_token_id]


def row_tokens(row: Row) -> int:
    """Return the number of tokens of the prompt with its longest answer."""
    return len(row["prompt_ids"]) + max(map(len, answers_of(row)))


def answers_of(row: Row) -> list[list[int]]:
    """Return the two answers of a pair, or the one of a demonstration."""
    return [row[name] for name in ANSWERS if name in row]
