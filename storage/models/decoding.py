"""Decodes the answers of a batch together, for members and for rounds. Imports torch, which takes a second."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Any, Protocol

import torch
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessor, StoppingCriteria

CANDIDATES = 256
"""Number of most likely tokens to search for the nucleus: sorting the vocabulary takes two fifths of a CPU's step."""


class TokenSampling(Protocol):
    @property
    def temperature(self) -> float:
        """0 is greedy."""
        ...

    @property
    def top_p(self) -> float:
        """Total probability of the smallest set of tokens to sample from."""
        ...

    @property
    def presence_penalty(self) -> float:
        """Subtracted from the scores of tokens that the answer already contains; 0 disables it."""
        ...


class Row(Protocol):
    """An answer of a batch."""

    @property
    def prompt_ids(self) -> Sequence[int]: ...

    @property
    def max_tokens(self) -> int:
        """Most tokens of thought and answer together."""
        ...

    @property
    def sampling(self) -> TokenSampling: ...

    @property
    def random(self) -> Random: ...

    @property
    def generated_ids(self) -> Sequence[int]:
        """Tokens so far, including a thought."""
        ...

    @property
    def is_done(self) -> bool: ...


Push = Callable[[Sequence[tuple[int, int]]], None]
"""Called after each step with (row number, new token) for each row that ran; it adds them to the rows."""


def decode(model: Any, rows: Sequence[Row], push: Push, picture: Mapping[str, Tensor] | None = None) -> None:
    """Continue all rows together, independently of each other, until each is done."""
    input_ids, attention_mask = _left_padded([row.prompt_ids for row in rows])
    model.generate(
        input_ids=input_ids.to(model.device),
        attention_mask=attention_mask.to(model.device),
        **{name: _as_computed(values, model) for name, values in (picture or {}).items()},
        generation_config=GenerationConfig(
            do_sample=False,  # each row samples for itself
            max_new_tokens=max(row.max_tokens for row in rows),
            pad_token_id=0,
        ),
        logits_processor=[_Choices(rows)],
        stopping_criteria=[_Ends(rows, push)],
    )


def choose_tokens(scores: Tensor, rows: Sequence[Row]) -> Tensor:
    """Return a token for each row, (B,), by nucleus sampling (Holtzman et al. 2020); changes `scores`, (B, V).

    The presence penalty applies to the tokens of the answer, not of the prompt, as in OpenAI's API.
    """
    for row, its_scores in zip(rows, scores, strict=True):
        if row.generated_ids and row.sampling.presence_penalty:
            its_scores[torch.tensor(sorted(set(row.generated_ids)))] -= row.sampling.presence_penalty
    likeliest = scores.argmax(-1).cpu()
    temperatures = torch.tensor([row.sampling.temperature for row in rows])
    if not temperatures.any():
        return likeliest
    probabilities = (scores.float() / temperatures.where(temperatures > 0, 1.0).to(scores.device)[:, None]).softmax(-1)
    best, tokens = _most_likely(probabilities, max(row.sampling.top_p for row in rows))
    # Always one draw for each token, so that an answer depends on its seed, not on its batch.
    draws = torch.tensor([row.random.random() for row in rows])[:, None]
    top_p = torch.tensor([row.sampling.top_p for row in rows])[:, None]
    cumulative = best.cumsum(-1)
    last = (cumulative < top_p).sum(-1, keepdim=True).clamp(max=best.shape[-1] - 1)
    places = (cumulative <= draws * cumulative.gather(-1, last)).sum(-1, keepdim=True).minimum(last)
    return tokens.gather(-1, places)[:, 0].where(temperatures > 0, likeliest)


def _most_likely(probabilities: Tensor, top_p: float) -> tuple[Tensor, Tensor]:
    """Return probabilities and tokens, both (B, K) on the CPU, most likely first, that reach `top_p` in each row."""
    best, tokens = probabilities.topk(min(CANDIDATES, probabilities.shape[-1]))
    if (best.sum(-1) < top_p).any():
        best, tokens = probabilities.sort(descending=True)
    return best.cpu(), tokens.cpu()


class _Choices(LogitsProcessor):
    def __init__(self, rows: Sequence[Row]) -> None:
        self._rows = rows

    def __call__(self, _input_ids: Tensor, scores: Tensor) -> Tensor:
        """Return scores, (B, V), that allow only the token chosen for each row; token 0 pads rows that are done."""
        running = [index for index, row in enumerate(self._rows) if not row.is_done]
        chosen = torch.zeros(len(self._rows), dtype=torch.long)
        chosen[running] = choose_tokens(scores[running], [self._rows[index] for index in running])
        return torch.full_like(scores, -torch.inf).scatter_(1, chosen.to(scores.device)[:, None], 0.0)


class _Ends(StoppingCriteria):
    def __init__(self, rows: Sequence[Row], push: Push) -> None:
        self._rows = rows
        self._push = push

    def __call__(self, input_ids: Tensor, _scores: object) -> Tensor:
        """Give each running row its newest token and return which rows are done, (B,); input_ids is (B, T)."""
        newest = enumerate(input_ids[:, -1].tolist())
        self._push([(index, token) for index, token in newest if not self._rows[index].is_done])
        return torch.tensor([row.is_done for row in self._rows], device=input_ids.device)


def _as_computed(values: Tensor, model: Any) -> Tensor:
    """Return the values on the model's device; colours in its number format, positions as they are."""
    return values.to(model.device, model.dtype if values.is_floating_point() else None)


def _left_padded(prompts: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Return IDs and attention mask, both (B, T); padding has ID 0 and is masked."""
    length = max(len(ids) for ids in prompts)
    padded = [[0] * (length - len(ids)) + [*ids] for ids in prompts]
    mask = [[0] * (length - len(ids)) + [1] * len(ids) for ids in prompts]
    return torch.tensor(padded), torch.tensor(mask)
