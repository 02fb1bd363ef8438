"""MiniLM for tests that need its meanings: a process reads it once, and each text once."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from storage.models.bundled import BundledEncoder, encoder_name

_VECTORS: dict[str, NDArray[Any]] = {}


class SharedEncoder:
    """Reading takes a tenth of a second, and each text a hundredth; both are most of the work of drawing answers."""

    def __init__(self) -> None:
        """Raises EncoderError if it is not installed."""
        self.name = encoder_name()

    def encode(self, texts: Sequence[str]) -> NDArray[Any]:
        if new := [text for text in dict.fromkeys(texts) if text not in _VECTORS]:
            _VECTORS.update(zip(new, _encoder().encode(new), strict=True))
        return np.array([_VECTORS[text] for text in texts])

    def count_tokens(self, text: str) -> int:
        return _encoder().count_tokens(text)


@cache
def _encoder() -> BundledEncoder:
    return BundledEncoder()
