"""Texts that begin alike, computed together: one pass over a tree of tokens instead of a row for each text.

Imports torch: import it late.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Sampler

from trainer.training.scoring import IGNORED, score, scored, separate_rows

WINDOWED = "sliding_attention"
FULL = "full_attention"

SIBLINGS = 4
"""How many times longer a run of one prompt's answers may be; what a token sees of all others grows with the square."""

TOLERANCE_NATS = {torch.float32: 1e-3, torch.bfloat16: 0.1}
"""Most that log-probabilities of a token may differ on average; rounding makes 1e-6, and 0.02 in bfloat16."""


class TokenTree:
    """Texts as one row of tokens, in which every beginning that several of them have in common stands once.

    `[prompt | answer 1]` and `[prompt | answer 2]` become `[prompt | answer 1 | answer 2]`. A token's column says where
    it stands in the row; a parent always stands before what follows it.
    """

    def __init__(self) -> None:
        self._columns: dict[tuple[int, int], int] = {}  # in the order of columns

    def add(self, text: Sequence[int]) -> list[int]:
        """Return the column of each of the text's tokens; only those that no text before began with are new."""
        path: list[int] = []
        for token in text:
            parent = path[-1] if path else -1
            path.append(self._columns.setdefault((parent, token), len(self._columns)))
        return path

    @property
    def tokens(self) -> list[int]:
        return [token for _, token in self._columns]

    def positions(self) -> list[int]:
        """Return how many tokens stand before each in its own text, as if that text were alone."""
        positions: list[int] = []
        for parent, _ in self._columns:
            positions.append(positions[parent] + 1 if parent >= 0 else 0)
        return positions

    def visible(self) -> Tensor:
        """Return which tokens each one sees, (columns, columns): itself and what stands before it in its own text."""
        seen = np.eye(len(self._columns), dtype=bool)
        for column, (parent, _) in enumerate(self._columns):
            if parent >= 0:
                seen[column] |= seen[parent]
        return torch.from_numpy(seen)


def split_by_tokens(groups: Sequence[Sequence[Sequence[int]]], most: int) -> list[list[int]]:
    """Return the groups' indices in runs, in order, each of which makes a tree of at most `most` tokens.

    A group of texts (a pair's two) is never torn. One that mostly repeats its run's tokens stays in it up to SIBLINGS
    times that many, as computing them again would take more memory than the rest of it does.
    """
    runs: list[list[int]] = []
    tree, run_columns = TokenTree(), set[int]()
    for index, group in enumerate(groups):
        columns = {column for text in group for column in tree.add(text)}
        is_sibling = 2 * len(columns & run_columns) > len(columns)
        if not runs or len(columns | run_columns) > (SIBLINGS * most if is_sibling else most):
            runs.append([])
            run_columns = set()
        runs[-1].append(index)
        run_columns |= columns
    return runs


class SiblingSampler(Sampler[int]):
    """Draws the rows in random order, those of a prompt one after another, anew in each pass and alike for equal seeds.

    A step of gradient descent so sees fewer prompts than where rows are drawn one by one, as TRL does, and follows each
    prompt further before the next; over a pass every row counts as it does there.
    """

    def __init__(self, prompts: Iterable[Sequence[int]], seed: int) -> None:
        rows: dict[tuple[int, ...], list[int]] = {}
        for index, prompt in enumerate(prompts):
            rows.setdefault(tuple(prompt), []).append(index)
        self._siblings = list(rows.values())
        self._random = random.Random(seed)

    def __len__(self) -> int:
        return sum(map(len, self._siblings))

    def __iter__(self) -> Iterator[int]:
        for rows in self._random.sample(self._siblings, len(self._siblings)):
            yield from self._random.sample(rows, len(rows))


class SharedPromptScorer:
    """A model as TRL calls it with rows that hold a text each, which it computes as one tree of tokens.

    Only tokens that are followed by a completion's are projected to the vocabulary. Log-probabilities and gradients are
    those of separate rows but for rounding. Models whose layers mix tokens other than by masked attention cannot do it:
    ask `reason_not_to_share` first.
    """

    def __init__(self, model: Any) -> None:
        self._model = model
        # Of several ranks each has the model inside of what makes their gradients one.
        self._inner = getattr(model, "module", model)

    def __call__(
        self, *, input_ids: Tensor, attention_mask: Tensor, labels: Tensor, fused_lm_head: bool, **_inputs: Any
    ) -> Any:
        """Return `log_probs`, (B, T - 1), in nats, 0 where the label is none. What TRL only logs is 0 throughout."""
        assert fused_lm_head, "TRL asks for log-probabilities"
        tree = TokenTree()
        columns = torch.zeros_like(input_ids)
        for path, ids, is_token in zip(columns, input_ids, attention_mask.bool(), strict=True):
            path[is_token] = path.new_tensor(tree.add(ids[is_token].tolist()))
        is_target = labels[:, 1:] != IGNORED
        kept, order = torch.unique(columns[:, :-1][is_target], return_inverse=True)
        return scored(self._logits(tree, kept)[order], labels[:, 1:], is_target)

    def _logits(self, tree: TokenTree, kept: Tensor) -> Tensor:
        """Return what follows each of the columns in `kept`, (kept, vocabulary)."""
        positions = torch.tensor([tree.positions()], device=kept.device)
        output = self._model(
            input_ids=torch.tensor([tree.tokens], device=kept.device),
            position_ids=positions,
            attention_mask=self._masks(tree.visible().to(kept.device), positions[0]),
            use_cache=False,
            logits_to_keep=kept,
        )
        return output.logits[0]  # type: ignore[no-any-return]

    def _masks(self, visible: Tensor, positions: Tensor) -> Tensor | dict[str, Tensor]:
        """Return the mask, or one for each kind of layer; a window counts positions, not columns of the tree."""
        config = self._inner.config.get_text_config()
        window = getattr(config, "sliding_window", None)
        is_near = positions[:, None] - positions < (window or len(positions))
        kinds = set(getattr(config, "layer_types", None) or ())
        if kinds - {FULL, WINDOWED}:
            raise NotImplementedError(f"layers with {', '.join(sorted(kinds - {FULL, WINDOWED}))}")
        full = self._additive(visible)
        if WINDOWED in kinds:
            return {FULL: full, WINDOWED: self._additive(visible & is_near)}
        return full if kinds else self._additive(visible & is_near)

    def _additive(self, visible: Tensor) -> Tensor:
        """Return a mask that every implementation of attention understands, (1, 1, columns, columns)."""
        dtype = self._inner.dtype
        hidden = torch.zeros(visible.shape, dtype=dtype, device=visible.device)
        return hidden.masked_fill_(~visible, torch.finfo(dtype).min)[None, None]


def reason_not_to_share(model: Any, inputs: dict[str, Any]) -> str | None:
    """Return why separate rows are needed, None where the model says the same of `inputs` as a tree of tokens.

    `inputs` are a few rows of TRL's, which begin alike. Disagreement tells of layers that look past the mask or count
    columns; models refuse a mask of four dimensions in their own ways.
    """
    try:
        with torch.no_grad():
            shared, separate = (score(way(model), inputs) for way in (SharedPromptScorer, separate_rows))
    except Exception as error:  # whatever a model's code raises there, separate rows remain
        return f"{type(error).__name__}: {error}"
    difference = float((shared.log_probs - separate.log_probs).abs().sum() / separate.label_mask.sum())
    # "not below", so that no number is a reason too
    return None if difference < TOLERANCE_NATS[model.dtype] else f"log-probabilities differ by {difference:.2g} nats"
