"""Training examples as token ids, and trees of texts that begin alike. Imports no model library."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

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


class TokenTree:
    """Texts as one row of tokens, in which every shared beginning occurs once.

    `[prompt | answer 1]` and `[prompt | answer 2]` become `[prompt | answer 1 | answer 2]`. A token's column is its
    place in the row; a parent always comes before the tokens that follow it.
    """

    def __init__(self) -> None:
        self._columns: dict[tuple[int, int], int] = {}  # (parent's column, token) -> column, in the order of columns

    def add(self, text: Sequence[int]) -> list[int]:
        """Return the column of each of the text's tokens, adding those that no earlier text shares."""
        path: list[int] = []
        for token in text:
            parent = path[-1] if path else -1
            path.append(self._columns.setdefault((parent, token), len(self._columns)))
        return path

    @property
    def tokens(self) -> list[int]:
        return [token for _, token in self._columns]

    def positions(self) -> list[int]:
        """Return the number of tokens before each token in its own text."""
        positions: list[int] = []
        for parent, _ in self._columns:
            positions.append(positions[parent] + 1 if parent >= 0 else 0)
        return positions

    def visible(self) -> NDArray[np.bool_]:
        """Return which tokens each token sees, (columns, columns): itself and those before it in its own text."""
        seen = np.eye(len(self._columns), dtype=bool)
        for column, (parent, _) in enumerate(self._columns):
            if parent >= 0:
                seen[column] |= seen[parent]
        return seen


def split_by_tokens(groups: Sequence[Sequence[Sequence[int]]], most: int, siblings: int) -> list[list[int]]:
    """Return the groups' indices in runs, in order; each run makes a tree of at most `most` tokens.

    A group of texts (the two of a pair) is never divided. A group that mostly repeats its run's tokens stays in the run
    up to `siblings` times that many, because computing those tokens again would take more memory than the rest.
    """
    runs: list[list[int]] = []
    tree, run_columns = TokenTree(), set[int]()
    for index, group in enumerate(groups):
        columns = {column for text in group for column in tree.add(text)}
        is_sibling = 2 * len(columns & run_columns) > len(columns)
        if not runs or len(columns | run_columns) > (siblings * most if is_sibling else most):
            runs.append([])
            run_columns = set()
        runs[-1].append(index)
        run_columns |= columns
    return runs
