"""Generates the answers of a batch together. Imports torch: only the model's thread imports this module."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessor, StoppingCriteria

from bot.engine import Finish, GenerationRequest, Sampling, finish_of
from bot.engine.transformers.eyes import Sight
from storage.models.answer_stream import ThoughtRoom
from storage.models.chat_format import ChatFormat

CANDIDATES = (64, 1024)
"""Numbers of most likely tokens to search for the nucleus, in turn: sorting the vocabulary takes milliseconds."""

ReportTexts = Callable[[Sequence[tuple[int, str]]], None]
"""Called after each step with (row number, new text) for each row that ran."""


class DecodingRow:
    """One request of a batch and the state of its answer."""

    def __init__(
        self,
        request: GenerationRequest,
        chat: ChatFormat,
        room: ThoughtRoom,
        interruption: Callable[[], Finish | None],
        sight: Sight | None = None,
    ) -> None:
        """`interruption` is called after each token and returns the reason to end the answer early, or None.

        A row with a `sight`, whose prompt is the request's, is alone in its batch.
        """
        self.sight = sight
        self.prompt_ids = sight.ids if sight else chat.token_ids(request.prompt)
        self.sampling = request.sampling
        max_new_tokens = request.sampling.max_new_tokens
        max_thought_tokens = room.beside(len(self.prompt_ids), max_new_tokens)
        self.max_tokens = max_new_tokens + max_thought_tokens
        """Most tokens of thought and answer together."""
        self.generated_ids: list[int] = []
        """Tokens so far, including a thought, without the token that ends the answer."""
        self.first_token_at: float | None = None
        """Time of the first token, from time.perf_counter()."""
        self.finish: Finish | None = None
        self.random = torch.Generator().manual_seed(request.seed)
        self._stream = chat.stream(request.prompt, max_new_tokens, max_thought_tokens)
        self._interruption = interruption

    @property
    def answer_ids(self) -> list[int]:
        return self._stream.answer_ids

    def push(self, token: int, end_ids: frozenset[int]) -> str:
        """Add the next token and return the text that it completes."""
        self.first_token_at = self.first_token_at or time.perf_counter()
        has_stopped, words = token in end_ids, ""
        if not has_stopped:
            self.generated_ids.append(token)
            words = self._stream.push(token)
        self.finish = finish_of(self._stream, has_stopped=has_stopped) or self._interruption()
        return words + (self._stream.flush() if self.finish else "")


def generate(model: Any, rows: Sequence[DecodingRow], end_ids: frozenset[int], report: ReportTexts) -> None:
    """Answer all rows together, independently of each other, until each has a `finish`."""
    input_ids, attention_mask = _left_padded([row.prompt_ids for row in rows])
    picture = rows[0].sight.picture if rows[0].sight else {}
    model.generate(
        input_ids=input_ids.to(model.device),
        attention_mask=attention_mask.to(model.device),
        **{name: _as_computed(values, model) for name, values in picture.items()},
        generation_config=GenerationConfig(
            do_sample=False,  # each row samples for itself
            max_new_tokens=max(row.max_tokens for row in rows),
            pad_token_id=0,
        ),
        logits_processor=[_Choices(rows)],
        stopping_criteria=[_Ends(rows, end_ids, report)],
    )


def sample_token(scores: Tensor, answer_ids: Sequence[int], sampling: Sampling, random: torch.Generator) -> int:
    """Return a token by nucleus sampling (Holtzman et al. 2020); changes `scores`, (V,).

    The presence penalty applies to the tokens of the answer, not of the prompt, as in OpenAI's API.
    """
    if answer_ids and sampling.presence_penalty:
        scores[torch.tensor(sorted(set(answer_ids)))] -= sampling.presence_penalty
    if sampling.temperature == 0.0:
        return int(scores.argmax())
    probabilities, tokens = _most_likely((scores / sampling.temperature).softmax(-1), sampling.top_p)
    cumulative = probabilities.cumsum(-1)
    nucleus = cumulative[: int((cumulative < sampling.top_p).sum()) + 1]
    # Always one draw for each token, so that an answer depends on its seed, not on its batch.
    draw = torch.rand(1, generator=random) * nucleus[-1]
    place = min(int((nucleus <= draw).sum()), len(nucleus) - 1)
    return int(tokens[place])


def _most_likely(probabilities: Tensor, top_p: float) -> tuple[Tensor, Tensor]:
    """Return probabilities and tokens, both (K,) on the CPU, most likely first, which together reach `top_p`."""
    for most in CANDIDATES:
        best = probabilities.topk(min(most, len(probabilities)))
        values = best.values.cpu()
        if values.sum() >= top_p:
            return values, best.indices.cpu()
    everything = probabilities.sort(descending=True)
    return everything.values.cpu(), everything.indices.cpu()


class _Choices(LogitsProcessor):
    def __init__(self, rows: Sequence[DecodingRow]) -> None:
        self._rows = rows

    def __call__(self, _input_ids: Tensor, scores: Tensor) -> Tensor:
        """Return scores, (B, V), that allow only the token chosen for each row; token 0 pads rows that are done."""
        chosen = [
            0 if row.finish else sample_token(scores[index], row.generated_ids, row.sampling, row.random)
            for index, row in enumerate(self._rows)
        ]
        places = torch.tensor(chosen, device=scores.device)[:, None]
        return torch.full_like(scores, -torch.inf).scatter_(1, places, 0.0)


class _Ends(StoppingCriteria):
    def __init__(self, rows: Sequence[DecodingRow], end_ids: frozenset[int], report: ReportTexts) -> None:
        self._rows = rows
        self._end_ids = end_ids
        self._report = report

    def __call__(self, input_ids: Tensor, _scores: object) -> Tensor:
        """Give each running row its newest token and return which rows are done, (B,); input_ids is (B, T)."""
        newest = input_ids[:, -1].tolist()
        running = [index for index, row in enumerate(self._rows) if row.finish is None]
        self._report([(index, self._rows[index].push(newest[index], self._end_ids)) for index in running])
        return torch.tensor([row.finish is not None for row in self._rows], device=input_ids.device)


def _as_computed(values: Tensor, model: Any) -> Tensor:
    """Return the values on the model's device; colours in its number format, positions as they are."""
    return values.to(model.device, model.dtype if values.is_floating_point() else None)


def _left_padded(prompts: Sequence[list[int]]) -> tuple[Tensor, Tensor]:
    """Return IDs and attention mask, both (B, T); padding has ID 0 and is masked."""
    length = max(len(ids) for ids in prompts)
    padded = [[0] * (length - len(ids)) + ids for ids in prompts]
    mask = [[0] * (length - len(ids)) + [1] * len(ids) for ids in prompts]
    return torch.tensor(padded), torch.tensor(mask)
