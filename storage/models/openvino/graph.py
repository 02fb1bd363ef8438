"""Builds the OpenVINO graph of a base model with an adapter, which is merged into the weights before they are rounded.

OpenVINO GenAI's own GGUF reader is not used: it rounds the offsets of 4-bit blocks to integers, which changes the
answers. Needs neither torch nor transformers.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
from numpy.typing import NDArray
from openvino import opset13 as op

from storage.adapters.folder_store import AdapterRef
from storage.models.openvino.architectures import INT4_GROUP, INT8_GROUP, Decoder, Layer, Mixer, Rotary
from storage.models.openvino.recurrent import States, causal_convolution, gated_delta_rule
from storage.models.openvino.rotary import rotary_tables
from storage.models.openvino.support import require_supported
from storage.models.openvino.weights import Weights

MASKED = -65504.0  # the lowest float16
INT8_MAX = 127
INT4_MAX, INT4_ZERO = 15, 8

Numbers = NDArray[np.float32]


def build_graph(base_path: Path, adapter: AdapterRef | None, weight_bits: int) -> ov.Model:
    """Return a stateful graph with the inputs that OpenVINO GenAI expects; `weight_bits` is 8 or 4.

    Inputs are input_ids, attention_mask and position_ids, (B, T), and beam_idx, (B,); the output is logits, (B, T, V).
    Raises UnsupportedModel or AdapterMisfit.
    """
    decoder = require_supported(base_path)
    weights = Weights(base_path, adapter)
    model = _Graph(decoder, weights, weight_bits).build()
    weights.require_all_used()
    return model


class _Graph:
    def __init__(self, decoder: Decoder, weights: Weights, weight_bits: int) -> None:
        self._decoder = decoder
        self._variant = decoder.variant
        self._names = decoder.variant.names
        self._weights = weights
        self._round = round_to_int4 if weight_bits == 4 else round_to_int8
        self._angles: dict[Rotary, tuple[Any, Any]] = {}
        self._windows: dict[int, Any] = {}

    def build(self) -> ov.Model:
        inputs = [op.parameter([-1, -1], np.int64, name=n) for n in ("input_ids", "attention_mask", "position_ids")]
        inputs.append(op.parameter([-1], np.int32, name="beam_idx"))
        for one in inputs:
            one.output(0).set_names({one.get_friendly_name()})
        self._input_ids, self._attention_mask, self._position_ids, self._beam_idx = inputs
        batch = op.gather(op.shape_of(self._input_ids), op.constant(np.array([0])), _ints(0))
        self._states = States(batch, self._beam_idx)
        name, head = self._weights.decoder, self._weights.head
        table = self._table(f"{name}.embed_tokens")
        hidden = op.gather(table, op.convert(self._input_ids, "i32"), _ints(0))
        if self._variant.scales_embeddings:
            hidden = op.multiply(hidden, _floats(math.sqrt(table.get_output_shape(0)[1])))
        for index, layer in enumerate(self._decoder.layers):
            hidden = self._layer(hidden, f"{name}.layers.{index}", index, layer)
        output = table if self._decoder.is_tied or head is None else self._table(head)
        logits = op.result(op.matmul(self._norm(hidden, f"{name}.{self._names.last_norm}"), output, False, True))
        logits.output(0).set_names({"logits"})
        return ov.Model([logits], self._states.sinks, inputs, "decoder")

    def _table(self, layer: str) -> Any:
        """Return the embedding or the output layer, which 4 bits would harm most."""
        return round_to_int8(self._weights.blocks(layer, self._weights.change(layer)))

    def _layer(self, hidden: Any, name: str, index: int, layer: Layer) -> Any:
        mixers = {
            Mixer.ATTENTION: self._attention,
            Mixer.CONVOLUTION: self._short_convolution,
            Mixer.DELTA: self._gated_delta,
        }
        mixed = mixers[layer.mixer](self._norm(hidden, f"{name}.{self._names.mixer_norm}"), name, index, layer)
        hidden = op.add(hidden, self._norm_if(mixed, name, self._names.mixer_output_norm))
        changed = self._feed_forward(self._norm(hidden, f"{name}.{self._names.feed_forward_norm}"), name)
        return op.add(hidden, self._norm_if(changed, name, self._names.feed_forward_output_norm))

    def _feed_forward(self, hidden: Any, name: str) -> Any:
        both = self._project(hidden, name, self._names.gate_up)
        gate, up = op.split(both, _ints(2), 2).outputs()
        activated = op.swish(gate) if self._decoder.activation == "silu" else op.gelu(gate, "tanh")
        return self._project(op.multiply(activated, up), name, [self._names.down])

    def _attention(self, hidden: Any, name: str, index: int, layer: Layer) -> Any:
        heads, kv_heads, size = self._decoder.heads, self._decoder.kv_heads, self._decoder.head_size
        joined = self._project(hidden, name, self._names.query_key_value)
        width = heads * size * (2 if self._variant.gates_attention else 1)
        query, key, value = _parts(joined, 2, width, kv_heads * size, kv_heads * size)
        gate = None
        if self._variant.gates_attention:
            query, gate = _parts(op.reshape(query, _ints(0, 0, heads, 2 * size), True), 3, size, size)
        query = self._rotated(self._split(query, heads, f"{name}.{self._names.query_norm}"), layer)
        key = self._rotated(self._split(key, kv_heads, f"{name}.{self._names.key_norm}"), layer)
        key, value = self._remember(key, index, "key"), self._remember(_heads(value, kv_heads, size), index, "value")
        mask = self._window(layer.window) if layer.window else self._mask
        scale = _floats(self._decoder.attention_scale)
        found = op.scaled_dot_product_attention(
            query, _repeated(key, kv_heads, heads), _repeated(value, kv_heads, heads), mask, scale
        )
        found = op.transpose(found, _ints(0, 2, 1, 3))
        if gate is not None:
            found = op.multiply(found, op.sigmoid(gate))
        return self._project(op.reshape(found, _ints(0, 0, heads * size), True), name, [self._names.attention_output])

    def _short_convolution(self, hidden: Any, name: str, index: int, _layer: Layer) -> Any:
        name = f"{name}.conv"
        joined = op.transpose(self._project(hidden, name, ["in_proj"]), _ints(0, 2, 1))
        before, after, tokens = op.split(joined, _ints(1), 3).outputs()
        kernel = self._weights.plain(f"{name}.conv.weight")
        mixed = op.multiply(after, causal_convolution(self._states, index, op.multiply(before, tokens), kernel))
        return self._project(op.transpose(mixed, _ints(0, 2, 1)), name, ["out_proj"])

    def _gated_delta(self, hidden: Any, name: str, index: int, _layer: Layer) -> Any:
        assert self._decoder.delta is not None
        name, sizes = f"{name}.linear_attn", self._decoder.delta
        keys, values = sizes.key_heads * sizes.key, sizes.value_heads * sizes.value
        projections = ["in_proj_qkv", "in_proj_z", "in_proj_b", "in_proj_a"]
        widths = 2 * keys + values, values, sizes.value_heads, sizes.value_heads
        joined, gate, strength, decay = _parts(self._project(hidden, name, projections), 2, *widths)
        kernel = self._weights.plain(f"{name}.conv1d.weight")
        mixed = op.swish(causal_convolution(self._states, index, op.transpose(joined, _ints(0, 2, 1)), kernel))
        query, key, value = _parts(op.transpose(mixed, _ints(0, 2, 1)), 2, keys, keys, values)
        query, key = (
            _repeated(_unit(_heads(one, sizes.key_heads, sizes.key)), sizes.key_heads, sizes.value_heads)
            for one in (query, key)
        )
        decay = op.add(decay, op.constant(self._weights.plain(f"{name}.dt_bias")))
        decay = op.multiply(op.softplus(decay), op.constant(-np.exp(self._weights.plain(f"{name}.A_log"))))
        answered = gated_delta_rule(
            self._states,
            index,
            sizes,
            query=query,
            key=key,
            value=_heads(value, sizes.value_heads, sizes.value),
            decay=op.transpose(decay, _ints(0, 2, 1)),
            strength=op.transpose(op.sigmoid(strength), _ints(0, 2, 1)),
        )
        answered = self._norm(op.transpose(answered, _ints(0, 2, 1, 3)), f"{name}.norm", offset=0.0)
        answered = op.multiply(op.reshape(answered, _ints(0, 0, values), True), op.swish(gate))
        return self._project(answered, name, ["out_proj"])

    def _project(self, hidden: Any, name: str, projections: Sequence[str]) -> Any:
        """Return the joined outputs of projections of (B, T, inputs): each multiplication costs at batch size 1."""
        layers = [f"{name}.{projection}" for projection in projections]
        blocks = (block for layer in layers for block in self._weights.blocks(layer, self._weights.change(layer)))
        product = op.matmul(hidden, self._round(blocks), False, True)
        if f"{layers[0]}.bias" in self._weights:
            product = op.add(product, op.constant(np.concatenate([self._weights.plain(f"{n}.bias") for n in layers])))
        return product

    def _norm_if(self, hidden: Any, name: str, norm: str) -> Any:
        return self._norm(hidden, f"{name}.{norm}") if norm else hidden

    def _norm(self, hidden: Any, name: str, offset: float | None = None) -> Any:
        """Return the root mean square normalisation (Zhang and Sennrich 2019); `offset` replaces the variant's."""
        mean = op.reduce_mean(op.power(hidden, _floats(2.0)), _ints(-1), keep_dims=True)
        scaled = op.multiply(hidden, op.divide(_floats(1.0), op.sqrt(op.add(mean, _floats(self._decoder.epsilon)))))
        offset = self._variant.norm_offset if offset is None else offset
        weight = self._weights.plain(f"{name}.weight") + np.float32(offset)
        return op.multiply(scaled, op.constant(weight))

    def _split(self, projected: Any, heads: int, norm: str) -> Any:
        """Return the projected numbers split into heads, (B, heads, T, head size), normalised if there is a norm."""
        split = op.reshape(projected, _ints(0, 0, heads, self._decoder.head_size), True)
        if f"{norm}.weight" in self._weights:
            split = self._norm(split, norm)
        return op.transpose(split, _ints(0, 2, 1, 3))

    def _rotated(self, heads: Any, layer: Layer) -> Any:
        """Return the heads with one half of their first numbers rotated against the other, as in LLaMA."""
        if layer.rotary is None:
            return heads
        cosine, sine = self._angles_of(layer.rotary)
        size, rest = layer.rotary.size, self._decoder.head_size - layer.rotary.size
        turning = _parts(heads, 3, size, rest)[0] if rest else heads
        first, second = op.split(turning, _ints(3), 2).outputs()
        turned = op.concat([op.multiply(second, _floats(-1.0)), first], 3)
        rotated = op.add(op.multiply(turning, cosine), op.multiply(turned, sine))
        if not rest:
            return rotated
        return op.concat([rotated, _parts(heads, 3, size, rest)[1]], 3)

    def _angles_of(self, rotary: Rotary) -> tuple[Any, Any]:
        """Return cosine and sine of each position, (B, 1, T, numbers rotated), from a table.

        Computed in bfloat16, positions beyond 256 would be rounded to even numbers.
        """
        if rotary not in self._angles:
            tables = (op.constant(table) for table in rotary_tables(rotary, self._decoder.positions))
            cosine, sine = (op.gather(table, self._position_ids, _ints(0)) for table in tables)
            self._angles[rotary] = op.unsqueeze(cosine, _ints(1)), op.unsqueeze(sine, _ints(1))
        return self._angles[rotary]

    def _remember(self, new: Any, index: int, what: str) -> Any:
        """Return the cached keys or values with the new ones, (B, heads, T, head size)."""
        name = f"past_key_values.{index}.{what}present.{index}.{what}"  # GenAI's name for it
        past = self._states.read(name, [self._decoder.kv_heads, -1, self._decoder.head_size])
        present = op.concat([past, new], 2)
        self._states.write(name, present)
        return present

    @cached_property
    def _places(self) -> tuple[Any, Any]:
        """Return the positions of visible tokens, (1, past and T), and of tokens that see them, (T, 1)."""
        length = op.gather(op.shape_of(self._input_ids), _ints(1), _ints(0))
        total = op.gather(op.shape_of(self._attention_mask), _ints(1), _ints(0))
        columns = op.range(_ints(0), total, _ints(1), "i64")
        rows = op.range(op.subtract(total, length), total, _ints(1), "i64")
        return op.unsqueeze(columns, _ints(0)), op.unsqueeze(rows, _ints(1))

    @cached_property
    def _mask(self) -> Any:
        """Return the attention mask, (B, 1, T, past and T), which hides later positions and padding."""
        columns, rows = self._places
        later = op.unsqueeze(op.greater(columns, rows), _ints(0, 1))
        padding = op.unsqueeze(op.equal(self._attention_mask, _ints(0)), _ints(1, 2))
        return op.select(op.logical_or(later, padding), _floats(MASKED), _floats(0.0))

    def _window(self, tokens: int) -> Any:
        """Return the mask of a layer that sees this number of tokens.

        GenAI's paged attention has its own mask; it takes the window from this order of operations (OpenVINO's
        gpt_oss_sliding_window_pattern). With another order it would silently see everything.
        """
        if tokens not in self._windows:
            columns, rows = self._places
            is_near = op.greater(columns, op.add(rows, _ints(-tokens)))
            is_seen = op.bitwise_and(op.bitwise_and(op.constant(True), is_near), op.less_equal(columns, rows))
            is_word = op.unsqueeze(op.not_equal(self._attention_mask, _ints(0)), _ints(1, 2))
            is_seen = op.bitwise_and(op.bitwise_and(op.constant(True), is_seen), is_word)
            everywhere = op.broadcast(is_seen, op.shape_of(self._mask))
            mask = op.select(everywhere, _floats(0.0), _floats(MASKED))
            self._windows[tokens] = op.slice(mask, *(op.constant(np.array([n])) for n in (0, 2**31 - 1, 1, 3)))
        return self._windows[tokens]


def _parts(joined: Any, axis: int, *widths: int) -> list[Any]:
    return list(op.variadic_split(joined, _ints(axis), op.constant(np.array(widths))).outputs())


def _heads(joined: Any, heads: int, size: int) -> Any:
    """Return (B, heads, T, size) from (B, T, heads * size)."""
    return op.transpose(op.reshape(joined, _ints(0, 0, heads, size), True), _ints(0, 2, 1, 3))


def _unit(heads: Any) -> Any:
    """Return the vectors scaled to length 1."""
    squares = op.reduce_sum(op.multiply(heads, heads), _ints(-1), keep_dims=True)
    return op.multiply(heads, op.divide(_floats(1.0), op.sqrt(op.add(squares, _floats(1e-6)))))


def _repeated(few: Any, heads: int, several: int) -> Any:
    """Repeat each head, (B, heads, T, size), for all heads of its group (Ainslie et al. 2023)."""
    group, size = several // heads, few.get_output_partial_shape(0)[3].get_length()
    if group == 1:
        return few
    repeated = op.broadcast(op.unsqueeze(few, _ints(2)), _ints(1, 1, group, 1, 1), broadcast_spec="BIDIRECTIONAL")
    return op.reshape(repeated, _ints(0, several, -1, size), True)


def _ints(*numbers: int) -> Any:
    """Return a constant: a scalar for one number, a vector for several."""
    return op.constant(np.array(numbers if len(numbers) > 1 else numbers[0], dtype=np.int64))


def _floats(number: float) -> Any:
    return op.constant(np.float32(number))


def round_to_int8(blocks: Iterable[Numbers]) -> Any:
    """Return (outputs, inputs), given a few rows at a time, as 8-bit integers with a scale for each group of inputs.

    The result is converted to float32.
    """
    rounded, scales = zip(*(_int8(_grouped(block, INT8_GROUP)) for block in blocks), strict=True)
    integers = op.constant(np.concatenate(rounded))
    return _matrix(op.convert(integers, "f16"), np.concatenate(scales))


def round_to_int4(blocks: Iterable[Numbers]) -> Any:
    """Return (outputs, inputs) as 4-bit integers with one zero point, INT4_ZERO: OpenVINO multiplies no others fast."""
    rounded, scales = zip(*(_int4(_grouped(block, INT4_GROUP)) for block in blocks), strict=True)
    zero = ov.op.Constant(ov.Type.u4, ov.Shape([1, 1, 1]), [INT4_ZERO])
    integers = op.convert(_packed(np.concatenate(rounded)), "f16")
    return _matrix(op.subtract(integers, op.convert(zero, "f16")), np.concatenate(scales))


def _grouped(block: Numbers, size: int) -> Numbers:
    """Return the rows divided into groups of inputs, (rows, groups, inputs of a group)."""
    rows, inputs = block.shape
    return block.reshape(rows, -1, size if inputs % size == 0 else inputs)


def _int8(groups: Numbers) -> tuple[NDArray[np.int8], NDArray[np.float16]]:
    scales = _scales(np.abs(groups).max(axis=2, keepdims=True) / INT8_MAX)
    integers = np.clip(np.rint(groups / scales), -INT8_MAX, INT8_MAX)
    return integers.astype(np.int8), scales.astype(np.float16)


def _int4(groups: Numbers) -> tuple[NDArray[np.uint8], NDArray[np.float16]]:
    """Return 4-bit numbers and scales. A group's largest number becomes 0: INT4_MAX is one step nearer the zero
    point."""
    largest = np.take_along_axis(groups, np.abs(groups).argmax(axis=2, keepdims=True), axis=2)
    scales = _scales(largest / np.float32(-INT4_ZERO))
    integers = np.clip(np.rint(groups / scales) + INT4_ZERO, 0, INT4_MAX)
    return integers.astype(np.uint8), scales.astype(np.float16)


def _scales(steps: Numbers) -> Numbers:
    """Return the steps as float16, none of them zero."""
    scales = steps.astype(np.float16).astype(np.float32)
    return np.where(scales == 0, np.float32(1), scales)


def _packed(numbers: NDArray[np.uint8]) -> Any:
    """Return a constant of 4-bit integers, two in a byte, the first in the lower half."""
    pairs = numbers.reshape(-1, 2)
    bytes_ = pairs[:, 0] | pairs[:, 1] << 4
    # This is a copy, because a tensor does not keep the array that it shares alive.
    return ov.op.Constant(ov.Tensor(bytes_, list(numbers.shape), ov.Type.u4), shared_memory=False)


def _matrix(integers: Any, scales: NDArray[np.float16]) -> Any:
    rows, groups = scales.shape[:2]
    scaled = op.multiply(integers, op.constant(scales))
    width = groups * integers.get_output_partial_shape(0)[2].get_length()
    return op.convert(op.reshape(scaled, _ints(rows, width), False), "f32")
