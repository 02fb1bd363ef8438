"""Layers that keep a state of fixed size instead of keys and values: short convolutions and gated delta rules.

OpenVINO GenAI pages these states too if it recognises the operations by their order: those of `causal_convolution` (its
PagedCausalConv1DFusion) and of `gated_delta_rule` (its FuseGDNLoop). In another order it would keep one state for all
answers, so the order matters.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import openvino as ov
from numpy.typing import NDArray
from openvino import opset13 as op

from storage.models.openvino.architectures import DeltaSizes

END = np.iinfo(np.int64).max


class States:
    """Creates the states of one graph; a state follows its answer when answers are reordered."""

    def __init__(self, batch: Any, beam_idx: Any) -> None:
        self._batch = batch
        self._beam_idx = beam_idx
        self.sinks: list[Any] = []
        """Nodes that the graph must keep although no output needs them."""

    def read(self, name: str, shape: Sequence[int]) -> Any:
        """Return a state, (B, *shape), that starts as zeros; a dimension of -1 starts at 0 and grows."""
        known = [op.constant(np.array([max(size, 0)], dtype=np.int64)) for size in shape]
        zeros = op.broadcast(op.constant(np.float32(0)), op.concat([self._batch, *known], 0))
        return op.gather(op.read_value(zeros, name, np.float32, [-1, *shape]), self._beam_idx, _int(0))

    def write(self, name: str, value: Any) -> None:
        self.sinks.append(op.assign(value, name))


def causal_convolution(states: States, index: int, tokens: Any, kernel: NDArray[np.float32]) -> Any:
    """Return each channel's convolution over the last tokens, (B, channels, T), given tokens of that shape.

    `kernel` is (channels, 1, width).
    """
    channels, _, width = kernel.shape
    name = f"cache_params.past.conv.{index}cache_params.present.conv.{index}"  # GenAI's name for it
    joined = op.concat([states.read(name, [channels, width]), tokens], -1)
    states.write(name, op.slice(joined, _vector(-width), _vector(END), _vector(1), _vector(2)))
    weights = op.constant(kernel.reshape(channels, 1, 1, width))
    convolved = op.group_convolution(joined, weights, [1], [0], [0], [1])
    return op.slice(convolved, _vector(1), _vector(END), _vector(1), _vector(2))


def gated_delta_rule(
    states: States, index: int, sizes: DeltaSizes, *, query: Any, key: Any, value: Any, decay: Any, strength: Any
) -> Any:
    """Return the state's answer to each query, (B, heads, T, value size) (Yang et al. 2024, section 3.1).

    Queries and keys are (B, heads, T, key size), values (B, heads, T, value size). The decay, the logarithm of the
    share of the state that is kept, and the strength, the share of the value that is written, are (B, heads, T).
    """
    name = f"cache_params.past.recurrent.{index}cache_params.present.recurrent.{index}"
    state = states.read(name, [sizes.value_heads, sizes.key, sizes.value])
    length, size = (op.gather(op.shape_of(query), _int(axis), _int(0)) for axis in (2, 3))
    scaled = op.divide(query, op.power(op.convert(size, "f32"), op.constant(np.float32(0.5))))
    no_answers = op.broadcast(op.constant(np.float32(0)), op.shape_of(value))
    loop = op.loop(length, op.constant(np.array(True)))
    body = _delta_step(sizes)
    _, *read, kept, answers = body.get_parameters()
    _, updated, answered = (result.input_value(0) for result in body.get_results())
    loop.set_function(body)
    loop.set_special_body_ports([0, 0])
    for parameter, sequence in zip(read, (scaled, key, value, decay, strength), strict=True):
        loop.set_sliced_input(parameter, sequence.output(0), 0, 1, 1, -1, 2)
    loop.set_merged_input(kept, state.output(0), updated)
    loop.set_merged_input(answers, no_answers.output(0), answered)
    found = loop.get_iter_value(answered, -1)
    states.write(name, op.convert(loop.get_iter_value(updated, -1), "f32"))  # `assign` takes a node
    return found


def _delta_step(sizes: DeltaSizes) -> ov.Model:
    """Return one step of the rule: it reads a token, updates the state, and writes the answer at the token's place."""
    heads = sizes.value_heads
    step = op.parameter([], np.int64)
    query, key = (op.parameter([-1, heads, 1, sizes.key], np.float32) for _ in range(2))
    value = op.parameter([-1, heads, 1, sizes.value], np.float32)
    decay, strength = (op.parameter([-1, heads, 1], np.float32) for _ in range(2))
    state = op.parameter([-1, heads, sizes.key, sizes.value], np.float32)
    answers = op.parameter([-1, heads, -1, sizes.value], np.float32)
    faded = op.multiply(state, op.unsqueeze(op.exp(decay), _int(-1)))
    column = op.unsqueeze(op.squeeze(key, _int(2)), _int(-1))
    recalled = op.reduce_sum(op.multiply(faded, column), _int(-2), keep_dims=False)
    surprise = op.multiply(op.subtract(op.squeeze(value, _int(2)), recalled), strength)
    updated = op.add(faded, op.multiply(column, op.unsqueeze(surprise, _int(-2))))
    asked = op.unsqueeze(op.squeeze(query, _int(2)), _int(-1))
    answer = op.reduce_sum(op.multiply(updated, asked), _int(-2), keep_dims=True)
    written = op.scatter_update(answers, op.unsqueeze(step, _int(0)), answer, _int(2))
    results = [op.result(one) for one in (op.constant(np.array(True)), updated, written)]
    return ov.Model(results, [step, query, key, value, decay, strength, state, answers], "delta")


def _int(number: int) -> Any:
    return op.constant(np.int64(number))


def _vector(number: int) -> Any:
    return op.constant(np.array([number], dtype=np.int64))
