"""What models compute on: processors, number formats and 4-bit weights."""

from __future__ import annotations

import ctypes
import os
import re
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from storage.errors import SettingsError
from storage.models.libraries import MODEL_LIBRARIES
from storage.settings.sections import ModelSettings, TrainingSettings

DRIVERS = ("libcuda.so.1", "nvcuda.dll", "amdhip64.dll")
"""Libraries that come with a driver: NVIDIA's on Linux and Windows, AMD's on Windows."""
AMD_DEVICE = Path("/dev/kfd")
"""AMD's driver on Linux, where PyTorch may bring the libraries."""


def usable_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@cache
def has_gpu() -> bool:
    """Return whether PyTorch can use a GPU; imports PyTorch only if there is a driver."""
    if not AMD_DEVICE.exists() and not any(map(_can_be_loaded, DRIVERS)):
        return False
    with MODEL_LIBRARIES:
        import torch

    return torch.cuda.is_available()


def gpu_count() -> int:
    """Return how many GPUs PyTorch can use."""
    if not has_gpu():
        return 0
    import torch

    return torch.cuda.device_count()


def own_gpu() -> int:
    """Return the number of this process's GPU: processes that train together each have their own."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def torch_device() -> str:
    """Return PyTorch's name for the device that models run on."""
    return "cuda" if has_gpu() else "cpu"


def _can_be_loaded(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


CPU_DESCRIPTION = Path("/proc/cpuinfo")
CPU_FLAGS = frozenset({"avx512_bf16", "amx_bf16", "bf16"})
"""Flags of CPUs that multiply bfloat16: two of x86, and ARM's."""


def serving_format(settings: ModelSettings) -> str:
    """Return the number format that the engine computes in, as PyTorch calls it."""
    return _resolve_format(settings.dtype, may_use_gpu=settings.engine != "openvino")


def training_format(settings: TrainingSettings) -> str:
    """Return the number format that rounds compute in, as PyTorch calls it."""
    return _resolve_format(settings.dtype, may_use_gpu=True)


@cache
def _resolve_format(dtype: str, *, may_use_gpu: bool) -> str:
    """Return `dtype`; for "auto", bfloat16 if the hardware multiplies it, else float32.

    PyTorch is imported only if there is a GPU. Only Linux reports what its CPU can do; other systems get float32.
    """
    if dtype != "auto":
        return dtype
    is_native = _gpu_multiplies_bfloat16() if may_use_gpu and has_gpu() else cpu_multiplies_bfloat16(CPU_DESCRIPTION)
    return "bfloat16" if is_native else "float32"


def cpu_multiplies_bfloat16(description: Path) -> bool:
    """Return whether the CPU has instructions for it; `description` is Linux's /proc/cpuinfo, or does not exist."""
    if not description.is_file():
        return False
    flags = re.search(r"^(?:flags|Features)\s*:(.*)$", description.read_text(encoding="utf-8"), re.MULTILINE)
    return flags is not None and not CPU_FLAGS.isdisjoint(flags[1].split())


def _gpu_multiplies_bfloat16() -> bool:
    import torch

    return bool(torch.cuda.is_bf16_supported(including_emulation=False))


def require_quantization(quantization: str) -> None:
    """Raise SettingsError if this machine cannot quantize weights; imports nothing for it."""
    if not quantization:
        return
    missing = "an NVIDIA GPU" if not has_gpu() else "" if find_spec("bitsandbytes") else "the package bitsandbytes"
    if missing:
        remedy = "install it with `pip install 'reactune[qlora]'`" if has_gpu() else 'set it to ""'
        raise SettingsError(
            f'training.quantization = "{quantization}" needs {missing}, which this machine does not have: {remedy}'
        )


def loading_options(quantization: str, dtype: str, device: int) -> dict[str, Any]:
    """Return the options of `from_pretrained` that quantize weights on that GPU; none without quantization."""
    if not quantization:
        return {}
    require_quantization(quantization)
    import torch
    from transformers import BitsAndBytesConfig

    config = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=getattr(torch, dtype),
    )
    return {"quantization_config": config, "device_map": {"": device}}
