"""Frozen weights in four bits (QLoRA, Dettmers et al. 2023, arXiv 2305.14314): only where the machine can do it."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

from storage.devices import has_gpu
from storage.errors import SettingsError


def require_quantization(quantization: str) -> None:
    """Raise SettingsError, in a sentence, where this machine cannot hold weights so; nothing is imported for it."""
    if not quantization:
        return
    missing = "a GPU of NVIDIA" if not has_gpu() else "" if find_spec("bitsandbytes") else "the package bitsandbytes"
    if missing:
        remedy = "install it with `pip install 'reactune[qlora]'`" if has_gpu() else 'set it to ""'
        raise SettingsError(
            f'training.quantization = "{quantization}" needs {missing}, which this machine has not: {remedy}'
        )


def loading_options(quantization: str, dtype: str, device: int) -> dict[str, Any]:
    """Return what `from_pretrained` needs to put the weights so onto that GPU; nothing where they stay as they are."""
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
