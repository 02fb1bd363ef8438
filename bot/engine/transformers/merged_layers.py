"""Which layers stand in a model: its own, PEFT's, or merged ones. Imports torch: only the model's own thread does."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from peft.tuners.lora import LoraLayer
from torch import nn

MAX_MERGED_BYTES = 2 * 2**30
"""Largest second set of weights: in larger models an adapter's own work is the smaller part, and memory the larger."""


class AdaptedLayers:
    """The layers of a model that adapters change; whichever stand in it, the base's own are never written to."""

    def __init__(self, model: nn.Module) -> None:
        """`model` is one in which PEFT's layers stand, or none."""
        found = [
            (parent, name, layer)
            for parent in model.modules()
            for name, layer in parent.named_children()
            if isinstance(layer, LoraLayer)
        ]
        self._places = [(parent, name) for parent, name, _ in found]
        self.adaptable: list[Any] = [layer for *_, layer in found]
        """PEFT's, which compute what is in them and what the active adapter adds."""
        self.original: list[Any] = [layer.get_base_layer() for layer in self.adaptable]

    @property
    def can_be_merged(self) -> bool:
        return bool(sum(layer.weight.nbytes for layer in self.original) <= MAX_MERGED_BYTES)

    def put(self, layers: Sequence[nn.Module]) -> None:
        """Let these layers stand in the model, in the order of `original`."""
        for (parent, name), layer in zip(self._places, layers, strict=True):
            setattr(parent, name, layer)

    def merged(self, adapter: str) -> list[Any]:
        """Return layers of their own memory that hold what the adapter adds to the base's."""
        with torch.no_grad():
            return [_merged(layer, adapter) for layer in self.adaptable]


def _merged(layer: Any, adapter: str) -> nn.Module:
    original: nn.Module = layer.get_base_layer()
    if adapter not in layer.scaling:
        return original
    # Added in float32 and rounded once; PEFT's own merge rounds what is added first.
    weight = original.weight.float() + layer.get_delta_weight(adapter).float()
    parameter = nn.Parameter(weight.to(original.weight.dtype), requires_grad=False)
    return copy.deepcopy(original, {id(original.weight): parameter})
