"""Writes a version as a GGUF file with LoRA weights, which llama.cpp's server reads."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from storage.adapters.folder_store import CONFIG_FILE, WEIGHTS_FILE, AdapterRef
from storage.errors import AdapterError
from storage.models.adapter_checks import NOT_PLAIN_LORA
from storage.models.base_model import BaseModel

ARCHITECTURES = {
    "LlamaForCausalLM": "llama",
    "MistralForCausalLM": "llama",
    "Qwen2ForCausalLM": "qwen2",
    "Qwen3ForCausalLM": "qwen3",
}
"""GGUF's names for architectures with the layers below; only "llama" orders queries and keys differently."""
LAYERS = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
NAME_DIGITS = 16


def gguf_name(adapter: AdapterRef) -> str:
    """Return the file name to use: servers report only the file name of an adapter."""
    return f"{adapter.digest[:NAME_DIGITS]}.gguf"


def write_gguf(adapter: AdapterRef, base: BaseModel, file: Path) -> None:
    """Write a PEFT adapter of the base, at its strength, for llama.cpp; raises AdapterError or OSError."""
    from gguf import GGUFWriter

    from storage.models.openvino.weights import Tensors

    architecture = _architecture(base)
    heads = _heads(base) if architecture == "llama" else {}
    config = json.loads((adapter.path / CONFIG_FILE).read_text(encoding="utf-8"))
    tensors = {_name(key): tensor for key, tensor in Tensors([adapter.path / WEIGHTS_FILE]).items()}
    staging = file.with_name(f".{file.name}.part")
    writer = GGUFWriter(str(staging), architecture)
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", _alpha(adapter, config))
    for name, tensor in tensors.items():
        layer, side = name.split(".")[2], name.rpartition(".")[2]
        rows = _interleaved(tensor, heads[layer]) if side == "lora_b" and layer in heads else tensor
        writer.add_tensor(name, np.ascontiguousarray(rows, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    staging.replace(file)


def _architecture(base: BaseModel) -> str:
    known = ARCHITECTURES.get(base.architecture)
    if known is None:
        raise AdapterError(
            f"{base.name} is a {base.architecture}, which Reactune cannot convert to GGUF: export the version with "
            "`reactune personality export`, then convert it with llama.cpp's convert_lora_to_gguf.py"
        )
    return known


def _heads(base: BaseModel) -> dict[str, int]:
    config = json.loads((base.path / "config.json").read_text(encoding="utf-8"))
    queries: int = config["num_attention_heads"]
    return {"attn_q": queries, "attn_k": config.get("num_key_value_heads") or queries}


def _alpha(adapter: AdapterRef, config: Mapping[str, Any]) -> float:
    """Return LoRA's alpha, which llama.cpp divides by the rank."""
    if unknown := [key for key in NOT_PLAIN_LORA if config.get(key)]:
        raise AdapterError(f"the adapter {adapter.digest[:12]} uses {unknown[0]}, which llama.cpp does not support")
    rank = int(config["r"])
    stabilised = math.sqrt(rank) if config.get("use_rslora") else 1.0
    return float(config["lora_alpha"]) * stabilised * adapter.strength


def _name(key: str) -> str:
    """Return llama.cpp's name for one of PEFT's tensors, such as blk.0.attn_q.weight.lora_a."""
    number, _, rest = key.partition("layers.")[2].partition(".")
    module, _, matrix = rest.partition(".lora_")
    if module not in LAYERS:
        raise AdapterError(f"the adapter changes {key}, which Reactune cannot convert to GGUF")
    return f"blk.{number}.{LAYERS[module]}.weight.lora_{'a' if matrix.startswith('A') else 'b'}"


def _interleaved(rows: NDArray[np.float32], heads: int) -> NDArray[np.float32]:
    """Return rows, (H * D, rank), in llama.cpp's order: it rotates neighbouring rows, transformers rotates halves."""
    return rows.reshape(heads, 2, -1, rows.shape[1]).swapaxes(1, 2).reshape(rows.shape)
