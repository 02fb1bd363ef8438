"""Identifies the GPUs of this process. Imports PyTorch late."""

from __future__ import annotations

import hashlib
import socket
from dataclasses import dataclass

from storage.models.hardware import MODEL_LIBRARIES, gpu_count

MARK_DIGITS = 12


@dataclass(frozen=True)
class Gpu:
    number: int
    """PyTorch's number for the GPU, which depends on the process."""
    mark: str
    """Identifier of the GPU, equal in every process and container that sees it."""


def own_gpus(count: int) -> list[Gpu]:
    """Return the first `count` GPUs that this process can use, or as many as there are."""
    return [Gpu(number, _mark_of(number)) for number in range(min(count, gpu_count()))]


def _mark_of(number: int) -> str:
    with MODEL_LIBRARIES:
        import torch
    properties = torch.cuda.get_device_properties(number)
    # Older drivers and some makers give no id; then containers on one machine cannot tell that they share a GPU.
    name = str(getattr(properties, "uuid", "")) or f"{socket.gethostname()} {number}"
    return hashlib.sha256(name.encode()).hexdigest()[:MARK_DIGITS]
