"""An encoder of a moment's work: each known word is a dimension, and words that mean the same share one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

from storage.knowledge.words import content_words

DIMENSIONS = 64
SAME: Mapping[str, str] = MappingProxyType(
    {"automobile": "car", "cars": "car", "kitten": "cat", "cats": "cat", "opens": "open"}
)


class WordEncoder:
    def __init__(self, name: str = "words 1") -> None:
        self.name = name
        self.dimensions: dict[str, int] = {}
        self.read: list[str] = []
        """Every text that was embedded, in order."""

    def encode(self, texts: Sequence[str]) -> np.ndarray[Any, Any]:
        self.read.extend(texts)
        vectors = np.zeros((len(texts), DIMENSIONS), dtype="<f4")
        for row, text in zip(vectors, texts, strict=True):
            for word in content_words(text):
                row[self._dimension(word)] += 1
        return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)

    def count_tokens(self, text: str) -> int:
        return len(text.split())

    def _dimension(self, word: str) -> int:
        return self.dimensions.setdefault(SAME.get(word, word), len(self.dimensions) % DIMENSIONS)
