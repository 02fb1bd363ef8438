"""Whether there is a graphics processor to compute on."""

from __future__ import annotations

import ctypes
import os
from functools import cache
from pathlib import Path

DRIVERS = ("libcuda.so.1", "nvcuda.dll", "amdhip64.dll")
"""Libraries that come with a driver: NVIDIA's on Linux and Windows, AMD's on Windows."""
AMD_DEVICE = Path("/dev/kfd")
"""AMD's driver on Linux; the libraries may be PyTorch's own."""


@cache
def has_gpu() -> bool:
    """Say whether PyTorch can compute on a graphics processor; imports it only where there is a driver."""
    if not AMD_DEVICE.exists() and not any(map(_can_be_loaded, DRIVERS)):
        return False
    import torch

    return torch.cuda.is_available()


def gpu_count() -> int:
    """Return how many graphics processors PyTorch can compute on."""
    if not has_gpu():
        return 0
    import torch

    return torch.cuda.device_count()


def own_gpu() -> int:
    """Return the number of the GPU that belongs to this process: one of several that train together has its own."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def torch_device() -> str:
    """Return PyTorch's name of what models compute on."""
    return "cuda" if has_gpu() else "cpu"


def _can_be_loaded(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True
