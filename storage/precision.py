"""The number format that this machine computes with fastest, decided by what it says of itself: no timing, no torch."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

from storage.devices import has_gpu

CPU_DESCRIPTION = Path("/proc/cpuinfo")
CPU_FLAGS = frozenset({"avx512_bf16", "amx_bf16", "bf16"})
"""Of x86, and the last of ARM: the CPU multiplies bfloat16 itself."""


@cache
def number_format(setting: str, *, may_use_gpu: bool) -> str:
    """Return the setting, or for "auto" bfloat16 where the hardware multiplies it, else float32.

    The GPU is asked where there is one, else the CPU; of CPUs only Linux tells, and others get float32.
    """
    if setting != "auto":
        return setting
    is_native = _gpu_multiplies_bfloat16() if may_use_gpu and has_gpu() else cpu_multiplies_bfloat16(CPU_DESCRIPTION)
    return "bfloat16" if is_native else "float32"


def cpu_multiplies_bfloat16(description: Path) -> bool:
    """Say whether the CPU has instructions for it; `description` is Linux's /proc/cpuinfo, or missing."""
    if not description.is_file():
        return False
    flags = re.search(r"^(?:flags|Features)\s*:(.*)$", description.read_text(encoding="utf-8"), re.MULTILINE)
    return flags is not None and not CPU_FLAGS.isdisjoint(flags[1].split())


def _gpu_multiplies_bfloat16() -> bool:
    import torch

    return bool(torch.cuda.is_bf16_supported(including_emulation=False))
