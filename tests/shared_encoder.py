"""MiniLM for tests that need its meanings: a process reads it once, and each text once."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from storage.models.bundled import BundledEncoder, encoder_name


class SharedEncoder:
    """Reading takes a tenth of a second, and each text a hundredth; both are most of the work of drawing answers."""

    def __init__(self) -> None:
        """Raises EncoderError if it is not installed."""
        self.name = encoder_name()

    def encode(self, texts: Sequence[str]) -> NDArray[Any]:
        return np.array([_vector(text) for text in texts])

    def count_tokens(self, text: str) -> int:
        return _encoder().count_tokens(text)


@cache
def _encoder() -> BundledEncoder:
    return BundledEncoder()


@cache
def _vector(text: str) -> NDArray[Any]:
    (vector,) = _encoder().encode([text])
    return vector  # type: ignore[no-any-return]
