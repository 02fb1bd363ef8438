"""The sizes of a language model that decide its memory, read from its config.json."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from storage.files import read_json_object
from storage.models.layer_names import stored_shapes
from storage.models.openvino.architectures import FULL, VARIANTS, WINDOWED

log = logging.getLogger(__name__)

GROWING = frozenset({FULL, WINDOWED, "chunked_attention"})
"""Kinds of layers that keep the keys and values of every token; windowed layers drop those outside the window."""
NUMBER_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2, "int8": 1}
SENSES = frozenset(
    {
        "vision_tower",
        "vision_model",
        "visual",
        "audio_tower",
        "connector",
        "multi_modal_projector",
        "embed_vision",
        "embed_audio",
    }
)
"""Parts of names of weights that see or hear; only an engine that looks at pictures loads them."""
GUESSES = frozenset({"mtp"})
"""Parts of names of weights that predict several tokens ahead; they are not loaded."""
EMBEDDING = "embed_tokens.weight"
SCALE_BYTES = 8
"""Bytes of a scale and an offset in float32: OpenVINO keeps them for each token and head of an 8-bit cache."""


@dataclass(frozen=True)
class ModelShape:
    """A decoder's sizes."""

    parameters: int
    matrices: int
    """Weights of linear layers, without embeddings and head: 4 bits shrink them."""
    config: Mapping[str, Any]
    senses: int = 0
    """Weights that see or hear, besides `parameters`; 0 if unknown."""

    @classmethod
    def of(cls, config: Mapping[str, Any], parameters: int = 0, vocabulary: int = 0, senses: int = 0) -> ModelShape:
        """Describe a model by its config.json; the other numbers are those of its files, 0 if unknown.

        Raises KeyError if the file lacks a size.
        """
        text = language_config(config)
        hidden, layers = int(text["hidden_size"]), int(text["num_hidden_layers"])
        vocabulary = vocabulary or int(text["vocab_size"])
        query, keys = int(text["num_attention_heads"]) * head_size(text), prod(_kv_heads(text, "sliding_attention"))
        experts, width = _feed_forward(text)
        attention = 2 * hidden * (query + keys)
        embedding = vocabulary * hidden * (1 if _is_tied(text) else 2)
        matrices = layers * (attention + experts * 3 * hidden * width)
        known = parameters or matrices + embedding
        return cls(
            parameters=known,
            matrices=min(matrices, known - embedding) if parameters else matrices,
            config=config,
            senses=senses,
        )

    def kv_bytes_per_token(self, dtype: str) -> int:
        return kv_bytes_per_token(self.config, dtype)


def known_shape(folder: Path) -> ModelShape | None:
    """Return the shape of the model in a folder; None, with a warning in the log, if its files do not show it."""
    try:
        return shape_of(folder)
    except (KeyError, ValueError, OSError) as error:
        log.warning("What %s needs cannot be estimated (%s: %s).", folder.name, type(error).__name__, error)
        return None


def shape_of(folder: Path) -> ModelShape:
    """Return the shape of a model's folder, with parameters and tokens counted in the headers of its safetensors files.

    Raises OSError and ValueError if a file cannot be read, KeyError if config.json lacks a size.
    """
    weights = _weights(folder)
    shapes = _of_language(weights)
    parameters, everything = (sum(map(prod, some.values())) for some in (shapes, weights))
    config = read_json_object(folder / "config.json")
    return ModelShape.of(config, parameters, _stored_tokens(shapes), everything - parameters)


def vocabulary_of(folder: Path) -> int:
    """Return the number of a model's tokens; raises like `shape_of`."""
    stored = _stored_tokens(_of_language(_weights(folder)))
    return stored or int(language_config(read_json_object(folder / "config.json"))["vocab_size"])


def _stored_tokens(shapes: Mapping[str, Sequence[int]]) -> int:
    """Return the number of rows of the embedding among these weights; 0 without one."""
    return next((shape[0] for name, shape in shapes.items() if name.endswith(EMBEDDING)), 0)


def _weights(folder: Path) -> dict[str, Sequence[int]]:
    """Return the shapes of the weights that may be loaded, by their names in the safetensors files."""
    return {name: shape for name, shape in stored_shapes(folder).items() if GUESSES.isdisjoint(name.split("."))}


def _of_language(weights: Mapping[str, Sequence[int]]) -> dict[str, Sequence[int]]:
    return {name: shape for name, shape in weights.items() if SENSES.isdisjoint(name.split("."))}


def _feed_forward(text: Mapping[str, Any]) -> tuple[int, int]:
    """Return the number of experts, or 1, and the width of one."""
    experts = int(text.get("num_experts") or text.get("num_local_experts") or 0)
    width = int(text.get("block_ff_dim") or text["intermediate_size"])
    if text.get("block_auto_adjust_ff_dim"):  # LFM2: two thirds, rounded up
        multiple = int(text["block_multiple_of"])
        width = -(-int(2 * width / 3 * text.get("block_ffn_dim_multiplier", 1)) // multiple) * multiple
    return (experts, int(text.get("moe_intermediate_size") or width)) if experts else (1, width)


def _is_tied(text: Mapping[str, Any]) -> bool:
    tied = text.get("tie_word_embeddings", text.get("tie_embedding"))
    return bool(tied) if tied is not None else str(text.get("model_type")).startswith(("gemma", "lfm2"))


def language_config(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the part of a config.json that describes the language model, with defaults for missing keys.

    Vision-language models nest that part.
    """
    variant = VARIANTS.get((config.get("architectures") or [""])[0])
    return {**(variant.defaults if variant else {}), **(config.get("text_config") or config)}


def head_size(text: Mapping[str, Any]) -> int:
    return int(text.get("head_dim") or text["hidden_size"] // text["num_attention_heads"])


def layer_kinds(text: Mapping[str, Any]) -> list[str]:
    """Return the kind of every layer, as in `layer_types`; older files leave it to the architecture's defaults."""
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
    2305.13245). Attention windows are ignored: within its window a layer keeps as much as any other.
    """
    number, scale = NUMBER_BYTES[dtype], SCALE_BYTES if dtype == "int8" else 0
    return 2 * sum(heads * (size * number + scale) for heads, size in _cached(config))


def _cached(config: Mapping[str, Any]) -> Iterator[tuple[int, int]]:
    """Yield (KV heads, size of a head) of each layer that has a cache of its own."""
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
