"""The numbers of a language model that decide how much memory it needs, read from its config.json."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

GROWING = frozenset({"full_attention", "sliding_attention", "chunked_attention"})
"""Kinds of layers that keep keys and values of every token; layers of a window drop those that left it."""
NUMBER_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2, "int8": 1}
SCALE_BYTES = 8
"""A scale and an offset in float32: OpenVINO keeps them for each token and head of an 8-bit cache."""


def language_config(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the part of a config.json that describes the language model; vision-language models nest it."""
    found: Mapping[str, Any] = config.get("text_config") or config
    return found


def head_size(text: Mapping[str, Any]) -> int:
    return int(text.get("head_dim") or text["hidden_size"] // text["num_attention_heads"])


def layer_kinds(text: Mapping[str, Any]) -> list[str]:
    """Return the kind of every layer, as in `layer_types`; older files leave them to the architecture's defaults."""
    layers = int(text["num_hidden_layers"])
    if kinds := text.get("layer_types"):
        return list(kinds)
    if (attending := text.get("full_attn_idxs")) is not None:  # LFM2
        return ["full_attention" if layer in attending else "conv" for layer in range(layers)]
    interval = text.get("full_attention_interval") or (4 if str(text.get("model_type")).startswith("qwen3_5") else 1)
    return ["linear_attention" if (layer + 1) % interval else "full_attention" for layer in range(layers)]


def kv_bytes_per_token(config: Mapping[str, Any], dtype: str) -> int:
    """Return the bytes of keys and values that one token adds to a cache; `dtype` is a key of NUMBER_BYTES.

    2 * layers * KV heads * head size * bytes of a number (Shazeer 2019, arXiv 1911.02150; Ainslie et al. 2023, arXiv
    2305.13245). Windows of attention are left out: up to its window a layer keeps as much as any other.
    """
    number, scale = NUMBER_BYTES[dtype], SCALE_BYTES if dtype == "int8" else 0
    return 2 * sum(heads * (size * number + scale) for heads, size in _cached(config))


def _cached(config: Mapping[str, Any]) -> Iterator[tuple[int, int]]:
    """Yield the KV heads and the size of a head of each layer that has a cache of its own."""
    text = language_config(config)
    kinds = layer_kinds(text)
    for kind in kinds[: len(kinds) - int(text.get("num_kv_shared_layers") or 0)]:
        if kind in GROWING:
            yield _kv_heads(text, kind)


def _kv_heads(text: Mapping[str, Any], kind: str) -> tuple[int, int]:
    heads, size = int(text.get("num_key_value_heads") or text["num_attention_heads"]), head_size(text)
    if kind == "full_attention" and text.get("global_head_dim"):  # Gemma 4: layers that see everything are wider
        size = int(text["global_head_dim"])
        heads = int(text.get("num_global_key_value_heads") or heads) if text.get("attention_k_eq_v") else heads
    return heads, size
