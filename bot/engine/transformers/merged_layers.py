"""Switches a model's layers between its own, PEFT's and merged ones. Imports torch: only the model's thread may."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from peft.tuners.lora import LoraLayer
from torch import nn

MAX_MERGED_BYTES = 2 * 2**30
"""Maximum size of the copies: in larger models an adapter costs relatively less time, and a copy more memory."""


class AdaptedLayers:
    """The layers of a model that adapters change. The base's own layers are never written to."""

    def __init__(self, model: nn.Module) -> None:
        """`model` contains PEFT's layers, or no adapter at all."""
        found = [
            (parent, name, layer)
            for parent in model.modules()
            for name, layer in parent.named_children()
            if isinstance(layer, LoraLayer)
        ]
        self._places = [(parent, name) for parent, name, _ in found]
        self.adaptable: list[Any] = [layer for *_, layer in found]
        """PEFT's layers, which compute the base layer and add the active adapter."""
        self.original: list[Any] = [layer.get_base_layer() for layer in self.adaptable]

    @property
    def can_be_merged(self) -> bool:
        return bool(sum(layer.weight.nbytes for layer in self.original) <= MAX_MERGED_BYTES)

    def put(self, layers: Sequence[nn.Module]) -> None:
        """Put these layers into the model, in the order of `original`."""
        for (parent, name), layer in zip(self._places, layers, strict=True):
            setattr(parent, name, layer)

    def merged(self, adapter: str) -> list[Any]:
        """Return copies of the base's layers with the adapter added."""
        with torch.no_grad():
            return [_merged(layer, adapter) for layer in self.adaptable]


def _merged(layer: Any, adapter: str) -> nn.Module:
    original: nn.Module = layer.get_base_layer()
    if adapter not in layer.scaling:
        return original
    # Added in float32 and rounded once; PEFT's own merge also rounds the adapter's part before.
    weight = original.weight.float() + layer.get_delta_weight(adapter).float()
    parameter = nn.Parameter(weight.to(original.weight.dtype), requires_grad=False)
    return copy.deepcopy(original, {id(original.weight): parameter})
