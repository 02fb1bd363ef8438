"""Turns an answer's tokens into text as they arrive."""

from __future__ import annotations

from collections.abc import Callable

MAX_HELD_TOKENS = 8  # a character has at most 4 bytes: after more tokens, the bytes are invalid
REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


class TextStream:
    """Turns tokens into text, without special tokens and without incomplete or invalid bytes."""

    def __init__(self, decode: Callable[[list[int]], str]) -> None:
        """`decode` returns the text of token IDs, without special tokens."""
        self._decode = decode
        self._ids: list[int] = []
        self._shown = 0

    def push(self, token: int) -> str:
        """Return the text that `token` completes."""
        self._ids.append(token)
        is_incomplete = self._decode(self._ids).endswith(REPLACEMENT)
        return "" if is_incomplete and len(self._ids) - self._shown < MAX_HELD_TOKENS else self.flush()

    def flush(self) -> str:
        """Return the text held back, without bytes that form no character."""
        known, text = self._decode(self._ids[: self._shown]), self._decode(self._ids)
        # The newest tokens stay as context: some tokenizers write a word differently at the start of a text.
        self._ids = self._ids[self._shown :]
        self._shown = len(self._ids)
        return text[len(known) :].replace(REPLACEMENT, "")
