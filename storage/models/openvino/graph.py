"""Builds the OpenVINO graph of a base model with an adapter: the adapter is merged, weights are rounded to 8 bits.

OpenVINO GenAI's own GGUF reader is not used: it rounds the offsets of 4-bit blocks to integers, which changes the
answers. Needs neither torch nor transformers.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
from numpy.typing import NDArray
from openvino import opset13 as op
from safetensors import deserialize

from storage.adapters.folder_store import AdapterRef
from storage.errors import StorageError
from storage.models.adapter_checks import is_targeted
from storage.models.openvino.support import UnsupportedModel, graph_positions, require_supported

UNKNOWN_TO_US = ("use_dora", "rank_pattern", "alpha_pattern", "modules_to_save", "layer_replication", "fan_in_fan_out")
LORA_KEY = "base_model.model.{}.lora_{}.weight"
INT8_MAX = 127
GROUP_SIZE = 64
"""Inputs that share a scale; larger groups lose more. With 64, KL to the unrounded model is 0.005 nats a token."""
MASKED = -65504.0  # the lowest float16

Weights = Mapping[str, NDArray[np.float32]]


class AdapterMisfit(StorageError):
    """The adapter is not a set of low-rank changes to this base's layers."""

    def __init__(self, adapter: AdapterRef, what: str) -> None:
        super().__init__(f"the adapter in {adapter.path} does not fit the base model: {what}")


def build_graph(base_path: Path, adapter: AdapterRef | None) -> ov.Model:
    """Return a stateful graph with the inputs that OpenVINO GenAI expects.

    Inputs are input_ids, attention_mask and position_ids, (B, T), and beam_idx, (B,); the output is logits, (B, T, V).
    Raises UnsupportedModel or AdapterMisfit.
    """
    config = require_supported(base_path)
    weights = read_tensors(sorted(base_path.glob("*.safetensors")))
    changes = _Changes(adapter) if adapter else None
    model = _Decoder(config, _Weights(weights, changes)).build()
    if changes:
        changes.require_all_used()
    return model


def read_tensors(files: Sequence[Path]) -> dict[str, NDArray[np.float32]]:
    """Return the tensors of safetensors files as float32."""
    tensors: dict[str, NDArray[np.float32]] = {}
    for file in files:
        entries = deserialize(file.read_bytes())
        tensors |= {name: _as_float(entry) for name, entry in entries}
    return tensors


def _as_float(entry: Mapping[str, Any]) -> NDArray[np.float32]:
    kinds = {"F32": "<f4", "F16": "<f2", "BF16": "<u2"}
    if entry["dtype"] not in kinds:
        raise UnsupportedModel(f"its weights are stored as {entry['dtype']}")
    numbers = np.frombuffer(entry["data"], dtype=kinds[entry["dtype"]])
    if entry["dtype"] == "BF16":  # the upper half of a float32
        numbers = (numbers.astype("<u4") << 16).view("<f4")
    return numbers.astype(np.float32, copy=False).reshape(entry["shape"])


class _Weights:
    """The base's weights with an adapter's changes added (LoRA, Hu et al. 2021, section 4.1)."""

    def __init__(self, base: Weights, changes: _Changes | None) -> None:
        self._base = base
        self._changes = changes

    def __contains__(self, name: str) -> bool:
        return name in self._base

    def plain(self, name: str) -> NDArray[np.float32]:
        return self._base[name]

    def matrix(self, layer: str) -> NDArray[np.float32]:
        """Return a layer's weight with the adapter's change, (outputs, inputs)."""
        weight = self._base[f"{layer}.weight"]
        return weight if self._changes is None else self._changes.apply(layer, weight)


class _Changes:
    """The changes of a PEFT adapter, and which of them were applied."""

    def __init__(self, adapter: AdapterRef) -> None:
        self._adapter = adapter
        config = json.loads((adapter.path / "adapter_config.json").read_text(encoding="utf-8"))
        if unknown := [key for key in UNKNOWN_TO_US if config.get(key)]:
            raise AdapterMisfit(adapter, f"it uses {unknown[0]}")
        if config.get("init_lora_weights", True) not in (True, False, "gaussian"):
            raise AdapterMisfit(adapter, f"it changes the base itself ({config['init_lora_weights']})")
        self._targets = config["target_modules"]
        if not isinstance(self._targets, list):
            raise AdapterMisfit(adapter, f"its target_modules are not a list of names ({self._targets})")
        self._alpha = float(config["lora_alpha"]) * adapter.strength
        self._is_rank_stabilised = bool(config.get("use_rslora"))
        self._tensors = read_tensors([adapter.path / "adapter_model.safetensors"])
        self._unused = set(self._tensors)

    def apply(self, layer: str, weight: NDArray[np.float32]) -> NDArray[np.float32]:
        names = LORA_KEY.format(layer, "A"), LORA_KEY.format(layer, "B")
        if not self._unused.issuperset(names):
            if is_targeted(layer, self._targets):
                raise AdapterMisfit(self._adapter, f"it lacks {names[0]} or {names[1]}")
            return weight
        self._unused.difference_update(names)
        down, up = (self._tensors[name] for name in names)
        rank = len(down)
        if (up.shape, down.shape) != ((weight.shape[0], rank), (rank, weight.shape[1])):
            raise AdapterMisfit(
                self._adapter, f"{names[0]} and B have shapes {down.shape} and {up.shape} for {weight.shape}"
            )
        scale = self._alpha / (math.sqrt(rank) if self._is_rank_stabilised else rank)
        return np.add(weight, np.float32(scale) * (up @ down), dtype=np.float32)

    def require_all_used(self) -> None:
        if not self._tensors:
            raise AdapterMisfit(self._adapter, "it has no tensors")
        if self._unused:
            raise AdapterMisfit(
                self._adapter, f"{len(self._unused)} of its tensors match no layer, such as {min(self._unused)}"
            )


class _Decoder:
    """A LLaMA decoder (Touvron et al. 2023) with grouped-query attention, or Qwen's variant of it."""

    def __init__(self, config: Mapping[str, Any], weights: _Weights) -> None:
        self._weights = weights
        self._layers = int(config["num_hidden_layers"])
        self._heads = int(config["num_attention_heads"])
        self._kv_heads = int(config.get("num_key_value_heads") or self._heads)
        self._head_size = int(config.get("head_dim") or config["hidden_size"] // self._heads)
        self._epsilon = float(config["rms_norm_eps"])
        self._theta = _rope_theta(config)
        self._positions = graph_positions(config)
        self._is_tied = bool(config.get("tie_word_embeddings"))
        self._sinks: list[Any] = []

    def build(self) -> ov.Model:
        inputs = [op.parameter([-1, -1], np.int64, name=n) for n in ("input_ids", "attention_mask", "position_ids")]
        inputs.append(op.parameter([-1], np.int32, name="beam_idx"))
        for one in inputs:
            one.output(0).set_names({one.get_friendly_name()})
        self._input_ids, self._attention_mask, self._position_ids, self._beam_idx = inputs
        self._batch = op.gather(op.shape_of(self._input_ids), op.constant(np.array([0])), _ints(0))
        table = _rounded(self._weights.matrix("model.embed_tokens"))
        hidden = op.gather(table, op.convert(self._input_ids, "i32"), _ints(0))
        for index in range(self._layers):
            hidden = self._layer(hidden, f"model.layers.{index}", index)
        head = table if self._is_tied else _rounded(self._weights.matrix("lm_head"))
        logits = op.result(op.matmul(self._norm(hidden, "model.norm"), head, False, True))
        logits.output(0).set_names({"logits"})
        return ov.Model([logits], self._sinks, inputs, "decoder")

    def _layer(self, hidden: Any, name: str, index: int) -> Any:
        hidden = op.add(hidden, self._attention(self._norm(hidden, f"{name}.input_layernorm"), name, index))
        return op.add(hidden, self._feed_forward(self._norm(hidden, f"{name}.post_attention_layernorm"), name))

    def _feed_forward(self, hidden: Any, name: str) -> Any:
        gate, up = self._project(hidden, [f"{name}.mlp.gate_proj", f"{name}.mlp.up_proj"])
        (down,) = self._project(op.multiply(op.swish(gate), up), [f"{name}.mlp.down_proj"])
        return down

    def _attention(self, hidden: Any, name: str, index: int) -> Any:
        query, key, value = self._project(hidden, [f"{name}.self_attn.{which}_proj" for which in "qkv"])
        query = self._rotated(self._split(query, self._heads, f"{name}.self_attn.q_norm"))
        key = self._remember(self._rotated(self._split(key, self._kv_heads, f"{name}.self_attn.k_norm")), index, "key")
        value = self._remember(self._split(value, self._kv_heads), index, "value")
        mixed = op.scaled_dot_product_attention(query, self._repeated(key), self._repeated(value), self._mask)
        joined = op.reshape(op.transpose(mixed, _ints(0, 2, 1, 3)), _ints(0, 0, self._heads * self._head_size), True)
        (out,) = self._project(joined, [f"{name}.self_attn.o_proj"])
        return out

    def _project(self, hidden: Any, layers: Sequence[str]) -> list[Any]:
        """Return the output of each layer for (B, T, inputs), by one multiplication: each one costs at batch size 1."""
        matrices = [self._weights.matrix(layer) for layer in layers]
        product = op.matmul(hidden, _rounded(np.concatenate(matrices)), False, True)
        if f"{layers[0]}.bias" in self._weights:
            product = op.add(product, op.constant(np.concatenate([self._weights.plain(f"{n}.bias") for n in layers])))
        if len(layers) == 1:
            return [product]
        return list(op.variadic_split(product, _ints(2), _ints(*(len(matrix) for matrix in matrices))).outputs())

    def _norm(self, hidden: Any, name: str) -> Any:
        """Root mean square normalisation (Zhang and Sennrich 2019)."""
        mean = op.reduce_mean(op.power(hidden, _floats(2.0)), _ints(-1), keep_dims=True)
        scaled = op.multiply(hidden, op.divide(_floats(1.0), op.sqrt(op.add(mean, _floats(self._epsilon)))))
        return op.multiply(scaled, op.constant(self._weights.plain(f"{name}.weight")))

    def _split(self, projected: Any, heads: int, norm: str | None = None) -> Any:
        """Return (B, heads, T, head size)."""
        split = op.reshape(projected, _ints(0, 0, heads, self._head_size), True)
        if norm and f"{norm}.weight" in self._weights:
            split = self._norm(split, norm)
        return op.transpose(split, _ints(0, 2, 1, 3))

    @cached_property
    def _angles(self) -> tuple[Any, Any]:
        """Cosine and sine of each position, (B, 1, T, head size), from a table.

        Computed in bfloat16, positions beyond 256 would be rounded to even numbers.
        """
        frequencies = 1.0 / self._theta ** (np.arange(0, self._head_size, 2) / self._head_size)
        angles = np.outer(np.arange(self._positions), frequencies)
        tables = (table(np.concatenate([angles, angles], axis=1)).astype(np.float32) for table in (np.cos, np.sin))
        cosine, sine = (op.gather(op.constant(table), self._position_ids, _ints(0)) for table in tables)
        return op.unsqueeze(cosine, _ints(1)), op.unsqueeze(sine, _ints(1))

    def _rotated(self, heads: Any) -> Any:
        """Rotary positions (Su et al. 2021), which rotate one half of a head against the other, as in LLaMA."""
        cosine, sine = self._angles
        first, second = op.split(heads, _ints(3), 2).outputs()
        turned = op.concat([op.multiply(second, _floats(-1.0)), first], 3)
        return op.add(op.multiply(heads, cosine), op.multiply(turned, sine))

    def _remember(self, new: Any, index: int, what: str) -> Any:
        """Return the cached keys or values with the new ones, (B, heads, T, head size)."""
        name = f"past_key_values.{index}.{what}present.{index}.{what}"  # GenAI's name for it
        empty = op.broadcast(_floats(0.0), op.concat([self._batch, _ints(self._kv_heads, 0, self._head_size)], 0))
        past = op.read_value(empty, name, np.float32, [-1, self._kv_heads, -1, self._head_size])
        present = op.concat([op.gather(past, self._beam_idx, _ints(0)), new], 2)
        self._sinks.append(op.assign(present, name))
        return present

    @cached_property
    def _mask(self) -> Any:
        """Attention mask, (B, 1, T, past and T), which hides later positions and padding."""
        length = op.gather(op.shape_of(self._input_ids), _ints(1), _ints(0))
        total = op.gather(op.shape_of(self._attention_mask), _ints(1), _ints(0))
        columns = op.range(_ints(0), total, _ints(1), "i64")
        rows = op.unsqueeze(op.range(op.subtract(total, length), total, _ints(1), "i64"), _ints(1))
        later = op.unsqueeze(op.greater(op.unsqueeze(columns, _ints(0)), rows), _ints(0, 1))
        padding = op.unsqueeze(op.equal(self._attention_mask, _ints(0)), _ints(1, 2))
        return op.select(op.logical_or(later, padding), _floats(MASKED), _floats(0.0))

    def _repeated(self, heads: Any) -> Any:
        """Repeat keys or values for each query head of their group (Ainslie et al. 2023)."""
        group = self._heads // self._kv_heads
        if group == 1:
            return heads
        several = op.broadcast(op.unsqueeze(heads, _ints(2)), _ints(1, 1, group, 1, 1), broadcast_spec="BIDIRECTIONAL")
        return op.reshape(several, _ints(0, self._heads, -1, self._head_size), True)


def _rounded(matrix: NDArray[np.float32]) -> Any:
    """Return (outputs, inputs) as 8-bit integers with a scale for each group of inputs, converted to float32."""
    outputs, inputs = matrix.shape
    groups = matrix.reshape(outputs, -1, GROUP_SIZE if inputs % GROUP_SIZE == 0 else inputs)
    scales = (np.abs(groups).max(axis=2, keepdims=True) / INT8_MAX).astype(np.float16)
    scales = np.where(scales == 0, np.float16(1), scales)
    integers = np.clip(np.rint(groups / scales.astype(np.float32)), -INT8_MAX, INT8_MAX).astype(np.int8)
    scaled = op.multiply(op.convert(op.constant(integers), "f16"), op.constant(scales))
    return op.convert(op.reshape(scaled, _ints(outputs, inputs), False), "f32")


def _ints(*numbers: int) -> Any:
    """Return a constant: a scalar for one number, a vector for several."""
    return op.constant(np.array(numbers if len(numbers) > 1 else numbers[0], dtype=np.int64))


def _floats(number: float) -> Any:
    return op.constant(np.float32(number))


def _rope_theta(config: Mapping[str, Any]) -> float:
    rope = config.get("rope_parameters") or {}
    return float(rope.get("rope_theta") or config.get("rope_theta") or 10_000.0)
