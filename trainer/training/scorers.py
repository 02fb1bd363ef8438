"""Models that TRL can call, in two forms: a row for each text, or one tree of tokens for texts that begin alike.

Both project only answers to the vocabulary. Imports torch: import it late.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.utils.data import Sampler

from storage.models.openvino.architectures import FULL, WINDOWED
from trainer.training.rows import TokenTree

IGNORED = -100
"""TRL's label of a token that belongs to no completion."""
TOLERANCE_NATS = {torch.float32: 1e-3, torch.float16: 0.0125, torch.bfloat16: 0.1}
"""Largest mean difference between a token's two log-probabilities; rounding causes 1e-6, and 0.02 in bfloat16.

float16 has three more bits than bfloat16, so it gets an eighth of the tolerance.
"""


def score(model: Any, inputs: dict[str, Any]) -> Any:
    """Return the output of TRL's head: log-probabilities of the completions' tokens, (B, T - 1), in nats."""
    labels = inputs["input_ids"].masked_fill(inputs["completion_mask"] == 0, IGNORED)
    return model(
        input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"], labels=labels, fused_lm_head=True
    )


def separate_rows(model: Any) -> Any:
    """Return the model with the head that is fastest on its device."""
    return model if model.device.type == "cuda" else CompletionScorer(model)


class CompletionScorer:
    """A model that TRL can call; it projects only the columns of completions to the vocabulary.

    TRL's own head does so on GPUs. On a CPU it projects the prompt as well, in pieces and partly in float32, which took
    two fifths of a step.
    """

    def __init__(self, model: Any) -> None:
        self._model = model

    def __call__(self, *, labels: Tensor, fused_lm_head: bool, **inputs: Any) -> Any:
        """Return `log_probs`, (B, T - 1), in nats, 0 where there is no label. Values that TRL only logs are all 0."""
        assert fused_lm_head, "TRL asks for log-probabilities"
        targets = labels[:, 1:]
        is_target = targets != IGNORED
        first = int(is_target.any(dim=0).int().argmax())
        # Indices, not a number of columns: with a number, PyTorch copies the head for every row.
        kept = torch.arange(first, targets.shape[1], device=targets.device)
        logits = self._model(**{**inputs, "use_cache": False}, logits_to_keep=kept).logits
        return _head_outputs(logits[is_target[:, first:]], targets, is_target)


def _head_outputs(logits: Tensor, targets: Tensor, is_target: Tensor) -> Any:
    """Return the outputs of TRL's own head; `logits` are those of the targets, in the order of the rows."""
    logps = -cross_entropy(logits.float(), targets[is_target], reduction="none")
    nothing = torch.zeros(targets.shape, device=logps.device)
    return SimpleNamespace(
        log_probs=logps.new_zeros(targets.shape).masked_scatter(is_target, logps),
        label_mask=is_target,
        entropy=nothing,
        mean_logits=nothing,
        is_top1=nothing.bool(),
    )


class SiblingSampler(Sampler[int]):
    """Draws the prompts in random order, and each prompt's rows one after another; equal seeds give equal passes.

    A step of gradient descent therefore sees fewer prompts than with TRL, which draws row by row, and follows each
    prompt further before the next. Over a pass every row counts the same.
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
    """A model that TRL can call; it computes rows of one text each as one tree of tokens.

    Only tokens that precede a completion's token are projected to the vocabulary. Log-probabilities and gradients are
    those of separate rows except for rounding. Models whose layers mix tokens by other means than masked attention
    cannot do it: ask `reason_not_to_share` first.
    """

    def __init__(self, model: Any) -> None:
        self._model = model
        # With several ranks, the model is inside a wrapper that averages their gradients.
        self._inner = getattr(model, "module", model)

    def __call__(
        self, *, input_ids: Tensor, attention_mask: Tensor, labels: Tensor, fused_lm_head: bool, **_inputs: Any
    ) -> Any:
        """Return `log_probs`, (B, T - 1), in nats, 0 where there is no label. Values that TRL only logs are all 0."""
        assert fused_lm_head, "TRL asks for log-probabilities"
        tree = TokenTree()
        columns = torch.zeros_like(input_ids)
        for path, ids, is_token in zip(columns, input_ids, attention_mask.bool(), strict=True):
            path[is_token] = path.new_tensor(tree.add(ids[is_token].tolist()))
        is_target = labels[:, 1:] != IGNORED
        kept, order = torch.unique(columns[:, :-1][is_target], return_inverse=True)
        return _head_outputs(self._logits(tree, kept)[order], labels[:, 1:], is_target)

    def _logits(self, tree: TokenTree, kept: Tensor) -> Tensor:
        """Return the logits after each of the columns in `kept`, (kept, vocabulary)."""
        positions = torch.tensor([tree.positions()], device=kept.device)
        output = self._model(
            input_ids=torch.tensor([tree.tokens], device=kept.device),
            position_ids=positions,
            attention_mask=self._masks(torch.from_numpy(tree.visible()).to(kept.device), positions[0]),
            use_cache=False,
            logits_to_keep=kept,
        )
        return output.logits[0]  # pyrefly: ignore[no-any-return-explicit]

    def _masks(self, visible: Tensor, positions: Tensor) -> Tensor | dict[str, Tensor]:
        """Return the mask, or one for each kind of layer. A window counts positions, not columns of the tree."""
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
    """Return why the model needs separate rows, or None if a tree of tokens gives the same log-probabilities.

    `inputs` are a few rows in TRL's format that begin alike. Results differ if layers look past the mask or count
    columns. Models that refuse a mask of four dimensions raise errors of many kinds.
    """
    try:
        with torch.no_grad():
            shared, separate = (score(way(model), inputs) for way in (SharedPromptScorer, separate_rows))
    except Exception as error:  # a model's own code may raise anything; separate rows still work
        return f"{type(error).__name__}: {error}"
    difference = float((shared.log_probs - separate.log_probs).abs().sum() / separate.label_mask.sum())
    # "not below", so that NaN is a reason too
    return None if difference < TOLERANCE_NATS[model.dtype] else f"log-probabilities differ by {difference:.2g} nats"
