"""OpenVINO's support for base models. Imports no model library."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from storage.errors import StorageError
from storage.models.base_model import BaseModel, quantization_of, window_of
from storage.settings.sections import ModelSettings

ARCHITECTURES = frozenset({"LlamaForCausalLM", "Qwen2ForCausalLM", "Qwen3ForCausalLM"})
MAX_POSITIONS = 32_768


class UnsupportedModel(StorageError):
    """OpenVINO cannot serve this base model; the text says why."""


def require_supported(base_path: Path) -> dict[str, Any]:
    """Return a model's `config.json`; raises UnsupportedModel unless it describes what `build_graph` builds."""
    config: dict[str, Any] = json.loads((base_path / "config.json").read_text(encoding="utf-8"))
    architectures = config.get("architectures") or ["none"]
    if architectures[0] not in ARCHITECTURES:
        raise UnsupportedModel(f"its architecture is {architectures[0]}, not one of {', '.join(sorted(ARCHITECTURES))}")
    if method := quantization_of(base_path):
        raise UnsupportedModel(f"its weights are quantised already ({method})")
    if (rope := _rope_type(config)) != "default":
        raise UnsupportedModel(f"its rotary positions are of type {rope!r}")
    if config.get("use_sliding_window") or config.get("mlp_bias"):
        raise UnsupportedModel("it has a sliding window or a bias in its feed-forward layers")
    if config.get("hidden_act", "silu") != "silu":
        raise UnsupportedModel(f"its activation is {config['hidden_act']}")
    return config


def _rope_type(config: Mapping[str, Any]) -> str:
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    return str(rope.get("rope_type", rope.get("type", "default")))


def graph_positions(config: Mapping[str, Any]) -> int:
    """Return how many positions a graph supports: the model's, limited to keep their table small."""
    return min(int(config.get("max_position_embeddings", MAX_POSITIONS)), MAX_POSITIONS)


def unsupported_because(base: BaseModel, settings: ModelSettings) -> str:
    """Return why OpenVINO does not support this base with these settings, or "" if it does."""
    try:
        require_supported(base.path)
    except UnsupportedModel as error:
        return str(error)
    if window_of(base.path, settings) > MAX_POSITIONS:
        return f"model.context_tokens = {settings.context_tokens} is above {MAX_POSITIONS}"
    return ""
