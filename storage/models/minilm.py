"""MiniLM, which turns a text into a vector, in NumPy.

With sentence-transformers, the bot's process had 716 MiB instead of 239 and took 12 seconds to import it instead of
0.6. A text takes 1.7 times as long, 20 ms for a short one on one core; vectors differ by less than 1e-6.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file
from scipy.special import erf
from threadpoolctl import ThreadpoolController
from tokenizers import Tokenizer

MAX_TOKENS = 256
"""Maximum number of tokens of a text that are read; the rest is ignored."""

Floats = NDArray[np.float32]


class MiniLM:
    """A BERT (Devlin et al. 2019, arXiv 1810.04805); a text's vector is the mean of the last layer's, with length 1."""

    def __init__(self, folder: Path) -> None:
        """Raises OSError, ValueError or an error of the libraries for missing or damaged files."""
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        self._heads, self._layers = config["num_attention_heads"], config["num_hidden_layers"]
        self._epsilon = config["layer_norm_eps"]
        self._weights = load_file(folder / "model.safetensors")
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._libraries = ThreadpoolController()

    def count_tokens(self, text: str) -> int:
        return len(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def encode(self, texts: Sequence[str]) -> Floats:
        """Return a vector of length 1 for each text, (N, D)."""
        # One thread: on busy cores, waiting for a second one takes longer than the products.
        with self._libraries.limit(limits=1, user_api="blas"):
            return np.array([self._encode(text) for text in texts])

    def _encode(self, text: str) -> Floats:
        first, *ids, last = self._tokenizer.encode(text).ids  # the first and the last one mark the text's ends
        x = self._embed(np.array([first, *ids[: MAX_TOKENS - 2], last]))
        for number in range(self._layers):
            layer = f"encoder.layer.{number}"
            x = self._add(x, self._attend(x, f"{layer}.attention.self"), f"{layer}.attention.output")
            inner = self._linear(x, f"{layer}.intermediate.dense")
            inner *= (1 + erf(inner / np.float32(np.sqrt(2)))) / 2
            x = self._add(x, inner, f"{layer}.output")
        mean = x.mean(axis=0)
        vector: Floats = mean / np.linalg.norm(mean)
        return vector

    def _embed(self, ids: NDArray[Any]) -> Floats:
        words, positions, types = (
            self._weights[f"embeddings.{name}_embeddings.weight"] for name in ("word", "position", "token_type")
        )
        return self._normalize(words[ids] + positions[: len(ids)] + types[0], "embeddings.LayerNorm")

    def _attend(self, x: Floats, name: str) -> Floats:
        query, key, value = (
            self._linear(x, f"{name}.{part}").reshape(len(x), self._heads, -1).swapaxes(0, 1)
            for part in ("query", "key", "value")
        )
        near = query @ key.swapaxes(1, 2) / np.float32(np.sqrt(query.shape[-1]))
        near = np.exp(near - near.max(axis=-1, keepdims=True))
        near /= near.sum(axis=-1, keepdims=True)
        found: Floats = (near @ value).swapaxes(0, 1).reshape(x.shape)
        return found

    def _add(self, x: Floats, found: Floats, name: str) -> Floats:
        return self._normalize(x + self._linear(found, f"{name}.dense"), f"{name}.LayerNorm")

    def _linear(self, x: Floats, name: str) -> Floats:
        product: Floats = x @ self._weights[f"{name}.weight"].T
        product += self._weights[f"{name}.bias"]
        return product

    def _normalize(self, x: Floats, name: str) -> Floats:
        centred = x - x.mean(axis=-1, keepdims=True)
        spread = np.sqrt((centred**2).mean(axis=-1, keepdims=True) + np.float32(self._epsilon))
        scaled: Floats = centred / spread * self._weights[f"{name}.weight"] + self._weights[f"{name}.bias"]
        return scaled
