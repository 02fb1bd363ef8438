"""Weights rounded to 8 or 4 bits, as constants of OpenVINO graphs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import openvino as ov
from numpy.typing import NDArray
from openvino import opset13 as op

from storage.models.openvino.architectures import INT4_GROUP, INT8_GROUP

INT8_MAX = 127
INT4_MAX, INT4_ZERO = 15, 8

Numbers = NDArray[np.float32]


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
    return op.convert(op.reshape(scaled, op.constant(np.array([rows, width])), False), "f32")
