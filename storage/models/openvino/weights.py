"""Weights of a base on disk, with an adapter's changes, read a few rows at a time. Needs neither OpenVINO nor torch."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from storage.adapters.folder_store import CONFIG_FILE, WEIGHTS_FILE, AdapterRef
from storage.models.adapter_checks import NOT_PLAIN_LORA, AdapterMisfit, is_targeted
from storage.models.layer_names import read_header, weight_files
from storage.models.openvino.support import UnsupportedModel

LORA_KEY = "base_model.model.{}.lora_{}.weight"
STORED = {"F32": "<f4", "F16": "<f2", "BF16": "<u2"}
BLOCK_NUMBERS = 2**21
"""Numbers of a weight in memory at once, in float32: 8 MB."""
PREFIXES = ("model", "model.language_model", "language_model.model")
"""Prefixes of a decoder's names on disk; the last two belong to models that also see."""
HEADS = ("lm_head", "language_model.lm_head")

Numbers = NDArray[np.float32]


@dataclass(frozen=True)
class _Entry:
    file: Path
    kind: str
    shape: tuple[int, ...]
    offset: int
    """Position of its first byte in the file."""


class Tensors(Mapping[str, Numbers]):
    """The tensors of safetensors files, read as float32 on access."""

    def __init__(self, files: Sequence[Path]) -> None:
        self._entries: dict[str, _Entry] = {}
        for file in files:
            header, begin = read_header(file)
            for name, found in header.items():
                place = begin + found["data_offsets"][0]
                self._entries[name] = _Entry(file, found["dtype"], tuple(found["shape"]), place)

    def __getitem__(self, name: str) -> Numbers:
        entry = self._entries[name]
        return self._read(entry, 0, math.prod(entry.shape)).reshape(entry.shape)

    def __contains__(self, name: object) -> bool:  # Mapping's own would read the tensor
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def shape(self, name: str) -> tuple[int, ...]:
        return self._entries[name].shape

    def blocks(self, name: str) -> Iterator[Numbers]:
        """Yield the rows of a matrix, a block at a time."""
        entry = self._entries[name]
        rows, width = entry.shape
        step = max(1, BLOCK_NUMBERS // width)
        for start in range(0, rows, step):
            stop = min(start + step, rows)
            yield self._read(entry, start * width, (stop - start) * width).reshape(-1, width)

    @staticmethod
    def _read(entry: _Entry, first: int, count: int) -> Numbers:
        if entry.kind not in STORED:
            raise UnsupportedModel(f"its weights are stored as {entry.kind}")
        stored = np.dtype(STORED[entry.kind])
        numbers = np.fromfile(entry.file, stored, count, offset=entry.offset + first * stored.itemsize)
        if entry.kind == "BF16":  # the upper half of a float32
            numbers = (numbers.astype("<u4") << 16).view("<f4")
        return numbers.astype(np.float32, copy=False)


@dataclass(frozen=True)
class LowRank:
    """A change of a weight: up @ down (LoRA, Hu et al. 2021, section 4.1)."""

    down: Numbers
    """The projection to the low rank, (rank, inputs)."""
    up: Numbers
    """The projection from the low rank, scaled, (outputs, rank)."""


class Weights:
    """A base's weights, and an adapter's changes of them."""

    def __init__(self, base_path: Path, adapter: AdapterRef | None) -> None:
        self._base = Tensors(weight_files(base_path))
        self._changes = _Changes(adapter) if adapter else None
        self.decoder = next((one for one in PREFIXES if f"{one}.embed_tokens.weight" in self._base), PREFIXES[0])
        """Prefix of the names of the decoder's layers."""
        self.head = next((one for one in HEADS if f"{one}.weight" in self._base), None)
        """Name of the output layer; None if it is the embedding."""

    def __contains__(self, name: str) -> bool:
        return name in self._base

    def plain(self, name: str) -> Numbers:
        """Return a tensor that no adapter changes."""
        return self._base[name]

    def shape(self, layer: str) -> tuple[int, ...]:
        return self._base.shape(f"{layer}.weight")

    def change(self, layer: str) -> LowRank | None:
        """Return the adapter's change of a layer."""
        return self._changes.take(layer, self.shape(layer)) if self._changes else None

    def blocks(self, layer: str, change: LowRank | None) -> Iterator[Numbers]:
        """Yield the rows of a layer's weight with the change added, (rows, inputs), a block at a time."""
        start = 0
        for block in self._base.blocks(f"{layer}.weight"):
            stop = start + len(block)
            yield block if change is None else np.add(block, change.up[start:stop] @ change.down, dtype=np.float32)
            start = stop

    def require_all_used(self) -> None:
        """Raise AdapterMisfit if some of the adapter's tensors change no layer of the graph."""
        if self._changes:
            self._changes.require_all_used()


class _Changes:
    """The changes of a PEFT adapter, and a record of those in use."""

    def __init__(self, adapter: AdapterRef) -> None:
        self._adapter = adapter
        config: dict[str, Any] = json.loads((adapter.path / CONFIG_FILE).read_text(encoding="utf-8"))
        if unknown := [key for key in NOT_PLAIN_LORA if config.get(key)]:
            raise AdapterMisfit(adapter, f"it uses {unknown[0]}")
        if config.get("init_lora_weights", True) not in (True, False, "gaussian"):
            raise AdapterMisfit(adapter, f"it changes the base itself ({config['init_lora_weights']})")
        self._targets = config["target_modules"]
        if not isinstance(self._targets, list):
            raise AdapterMisfit(adapter, f"its target_modules are not a list of names ({self._targets})")
        self._alpha = float(config["lora_alpha"]) * adapter.strength
        self._is_rank_stabilised = bool(config.get("use_rslora"))
        self._tensors = Tensors([adapter.path / WEIGHTS_FILE])
        self._unused = set(self._tensors)

    def take(self, layer: str, shape: tuple[int, ...]) -> LowRank | None:
        names = LORA_KEY.format(layer, "A"), LORA_KEY.format(layer, "B")
        if not self._unused.issuperset(names):
            if is_targeted(layer, self._targets):
                raise AdapterMisfit(self._adapter, f"it lacks {names[0]} or {names[1]}")
            return None
        self._unused.difference_update(names)
        down, up = (self._tensors[name] for name in names)
        rank = len(down)
        if (up.shape, down.shape) != ((shape[0], rank), (rank, shape[1])):
            raise AdapterMisfit(self._adapter, f"{names[0]} and B have shapes {down.shape} and {up.shape} for {shape}")
        scale = self._alpha / (math.sqrt(rank) if self._is_rank_stabilised else rank)
        return LowRank(down, np.float32(scale) * up)

    def require_all_used(self) -> None:
        if not self._tensors:
            raise AdapterMisfit(self._adapter, "it has no tensors")
        if self._unused:
            raise AdapterMisfit(
                self._adapter, f"{len(self._unused)} of its tensors match no layer, such as {min(self._unused)}"
            )
