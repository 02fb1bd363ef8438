"""Angles of rotary positions, with the scalings that transformers calls rope_type. Needs neither OpenVINO nor torch."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from storage.models.openvino.architectures import Rotary

Frequencies = NDArray[np.float64]


def rotary_tables(rotary: Rotary, positions: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the cosine and the sine of each position's angles, (positions, numbers rotated)."""
    frequencies, factor = SCALINGS[rotary.kind](rotary)
    angles = np.outer(np.arange(positions), frequencies)
    angles = np.concatenate([angles, angles], axis=1)
    return (factor * np.cos(angles)).astype(np.float32), (factor * np.sin(angles)).astype(np.float32)


def _plain(rotary: Rotary) -> tuple[Frequencies, float]:
    return 1.0 / rotary.theta ** (np.arange(0, rotary.size, 2) / rotary.size), 1.0


def _linear(rotary: Rotary) -> tuple[Frequencies, float]:
    return _plain(rotary)[0] / float(rotary.scaling["factor"]), 1.0


def _llama3(rotary: Rotary) -> tuple[Frequencies, float]:
    """Return Llama 3's frequencies: slow angles slowed down, fast ones kept (Grattafiori et al. 2024, section 3.4)."""
    frequencies, _ = _plain(rotary)
    low, high = float(rotary.scaling["low_freq_factor"]), float(rotary.scaling["high_freq_factor"])
    turns = rotary.trained_positions * frequencies / (2 * math.pi)
    kept = np.clip((turns - low) / (high - low), 0.0, 1.0)
    return frequencies * (kept + (1 - kept) / float(rotary.scaling["factor"])), 1.0


def _yarn(rotary: Rotary) -> tuple[Frequencies, float]:
    """Return YaRN's frequencies (Peng et al. 2023, section 3.2)."""
    frequencies, _ = _plain(rotary)
    given = rotary.scaling
    factor = float(given.get("factor") or rotary.positions / rotary.trained_positions)

    def index_at(turns: float) -> float:
        return rotary.size * math.log(rotary.trained_positions / (turns * 2 * math.pi)) / (2 * math.log(rotary.theta))

    first, last = index_at(given.get("beta_fast") or 32), index_at(given.get("beta_slow") or 1)
    if given.get("truncate", True):
        first, last = math.floor(first), math.ceil(last)
    first, last = max(first, 0), min(last, rotary.size - 1)
    slowed = np.clip((np.arange(rotary.size // 2) - first) / max(last - first, 0.001), 0.0, 1.0)
    return frequencies * (1 - slowed + slowed / factor), _yarn_factor(given, factor)


def _yarn_factor(given: Mapping[str, object], factor: float) -> float:
    if given.get("attention_factor") is not None:
        return float(given["attention_factor"])  # type: ignore[arg-type]
    growth = 0.1 * math.log(factor) if factor > 1 else 0.0
    above, below = given.get("mscale"), given.get("mscale_all_dim")
    if above and below:
        return (1 + float(above) * growth) / (1 + float(below) * growth)  # type: ignore[arg-type]
    return 1 + growth


def _longrope(rotary: Rotary) -> tuple[Frequencies, float]:
    """Return LongRoPE's frequencies (Ding et al. 2024), up to the positions before scaling."""
    frequencies, _ = _plain(rotary)
    given, trained = rotary.scaling, rotary.trained_positions
    factor = float(given.get("factor") or rotary.positions / trained)
    default = math.sqrt(1 + math.log(factor) / math.log(trained)) if factor > 1 else 1.0
    return frequencies / np.array(given["short_factor"]), float(given.get("attention_factor") or default)


SCALINGS: Mapping[str, Callable[[Rotary], tuple[Frequencies, float]]] = {
    "default": _plain,
    "linear": _linear,
    "llama3": _llama3,
    "longrope": _longrope,
    "yarn": _yarn,
}
"""Functions by rope_type; each returns frequencies, in radians per position, and the factor of queries and keys."""
