"""The answers of a batch while they are decoded. Imports torch: only the model's thread imports this module."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

from bot.engine import Finish, GenerationRequest, finish_of
from bot.engine.transformers.eyes import Sight
from storage.models.answer_stream import ThoughtRoom
from storage.models.chat_format import ChatFormat
from storage.models.decoding import decode

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
        self.random = Random(request.seed)
        self._stream = chat.stream(request.prompt, max_new_tokens, max_thought_tokens)
        self._interruption = interruption

    @property
    def is_done(self) -> bool:
        return self.finish is not None

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

    def push(newest: Sequence[tuple[int, int]]) -> None:
        report([(index, rows[index].push(token, end_ids)) for index, token in newest])

    decode(model, rows, push, rows[0].sight.picture if rows[0].sight else None)
