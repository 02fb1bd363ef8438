"""Trees of tokens: texts that begin alike, computed together. Imports no model library."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


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
