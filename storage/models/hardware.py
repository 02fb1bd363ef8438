"""PyTorch, transformers and the libraries on top of them: sharing between threads, number formats, and broken imports.

These libraries import one another in circles, and transformers resolves its names lazily. A second thread that imports
one at the same moment sees a half-initialised module ("cannot import name"), so only the thread that holds
MODEL_LIBRARIES imports them or loads with them.

Every process imports this module before them, because it also sets how their OpenMP threads wait. It imports none of
them at the top.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import hashlib
import os
import re
import socket
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import Any

from storage.errors import SettingsError
from storage.settings.sections import ModelSettings, Settings, TrainingSettings

MODEL_LIBRARIES = threading.RLock()
"""Held while a thread imports the libraries, or loads a model or tokenizer, which imports more of them."""


WAITING = MappingProxyType({"OMP_WAIT_POLICY": "PASSIVE", "KMP_BLOCKTIME": "0"})
"""Make OpenMP threads sleep while they wait for each other: GNU's OpenMP (Linux), and LLVM's or Intel's (elsewhere).

By default they spin. With one other busy process, answers then take several times as long (docs/internals/engines.md).
Values from the environment are kept.
"""
for _name, _value in WAITING.items():
    os.environ.setdefault(_name, _value)

DRIVERS = ("libcuda.so.1", "nvcuda.dll", "amdhip64.dll")
"""Libraries that come with a driver: NVIDIA's on Linux and Windows, AMD's on Windows."""
AMD_DEVICE = Path("/dev/kfd")
"""AMD's driver on Linux, where PyTorch may bring the libraries."""
CPU_DESCRIPTION = Path("/proc/cpuinfo")
CPU_FLAGS = frozenset({"avx512_bf16", "amx_bf16", "bf16"})
"""Linux's flags of CPUs that multiply bfloat16: two for x86, and ARM's."""
MARK_DIGITS = 12


@contextlib.contextmanager
def silence_transformers() -> Iterator[None]:
    """Hold MODEL_LIBRARIES and hide transformers' progress bars and advice, which are global to the process."""
    with MODEL_LIBRARIES:
        from transformers.utils import logging

        verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
        logging.set_verbosity_error()
        logging.disable_progress_bar()
        try:
            with warnings.catch_warnings():
                # PEFT 0.21 asks for an attribute that transformers 5.24 has renamed.
                warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated")
                yield
        finally:
            logging.set_verbosity(verbosity)
            if bars:
                logging.enable_progress_bar()


def broken_library(error: BaseException) -> str:
    """Return a sentence that names the library whose import caused the error, or "" if no import did."""
    failed: ImportError | None = None
    cause: BaseException | None = error
    while cause is not None:
        failed = cause if isinstance(cause, ImportError) else failed
        cause = cause.__cause__
    if failed is None:
        return ""
    library = (failed.name or "").partition(".")[0] or "a library"
    return f"{library} cannot be imported ({failed}): reinstall it with pip"


def import_error_in(last_words: str) -> ImportError | None:
    """Return the ImportError that ended another process, read from the last line of its traceback; None if none did."""
    kind, _, message = last_words.partition(": ")
    if kind not in ("ImportError", "ModuleNotFoundError"):
        return None
    named = re.search(r"(?:from|named) '([\w.]+)'", message)
    return ImportError(message, name=named[1] if named else None)


def usable_cores() -> int:
    """Return the number of cores that this process may use."""
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
    """Return the number of GPUs that PyTorch can use."""
    if not has_gpu():
        return 0
    import torch

    return torch.cuda.device_count()


def own_gpu() -> int:
    """Return the number of this process's GPU; each of the processes that train together has its own."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def free_unused_models() -> None:
    """Free the memory of models that are no longer used.

    accelerate and PEFT put functions into a model that refer to it, so it outlives its last user until a collection.
    PyTorch then still keeps the GPU's memory out of reach of other processes.
    """
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()


def torch_device() -> str:
    """Return PyTorch's name for the device that this process's models run on."""
    return f"cuda:{own_gpu()}" if has_gpu() else "cpu"


def _can_be_loaded(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def serving_format(settings: ModelSettings) -> str:
    """Return the number format that the engine computes in, as PyTorch calls it."""
    return _resolve_format(settings.dtype, may_use_gpu=settings.engine != "openvino")


def training_format(settings: TrainingSettings) -> str:
    """Return the number format that rounds compute in, as PyTorch calls it."""
    return _resolve_format(settings.dtype, may_use_gpu=True)


@cache
def _resolve_format(dtype: str, *, may_use_gpu: bool) -> str:
    """Return `dtype`; for "auto", bfloat16 if the hardware multiplies it, else float16 on a GPU and float32 on a CPU.

    PyTorch is imported only if there is a GPU. Only Linux reports its CPU's abilities; other systems get float32.
    """
    if dtype != "auto":
        return dtype
    if may_use_gpu and has_gpu():
        return "bfloat16" if _gpu_multiplies_bfloat16() else "float16"
    return "bfloat16" if cpu_multiplies_bfloat16(CPU_DESCRIPTION) else "float32"


def cpu_multiplies_bfloat16(description: Path) -> bool:
    """Return whether the CPU has instructions for it; `description` is Linux's /proc/cpuinfo, or does not exist."""
    if not description.is_file():
        return False
    flags = re.search(r"^(?:flags|Features)\s*:(.*)$", description.read_text(encoding="utf-8"), re.MULTILINE)
    return flags is not None and not CPU_FLAGS.isdisjoint(flags[1].split())


def _gpu_multiplies_bfloat16() -> bool:
    import torch

    return bool(torch.cuda.is_bf16_supported(including_emulation=False))


def require_training(settings: TrainingSettings) -> None:
    """Raise SettingsError if this machine cannot train in that format or on such weights; imports no model library."""
    if settings.dtype == "float16" and not has_gpu():
        # float16's small numbers vanish unless the loss is scaled, which accelerate does on GPUs only.
        raise SettingsError('training.dtype = "float16" needs a GPU, and this machine has none: set it to "auto"')
    require_quantization(settings.quantization)


def require_quantization(quantization: str) -> None:
    """Raise SettingsError if this machine cannot quantise weights; imports no library."""
    if not quantization:
        return
    missing = "an NVIDIA GPU" if not has_gpu() else "" if find_spec("bitsandbytes") else "the package bitsandbytes"
    if missing:
        remedy = "install it with `pip install 'reactune[qlora]'`" if has_gpu() else 'set both to ""'
        raise SettingsError(
            f'"{quantization}" weights (model.quantization, training.quantization) need {missing}, '
            f"which this machine does not have: {remedy}"
        )


def describe_serving_format(settings: ModelSettings) -> str:
    """Describe the device and format of transformers' answers; raises SettingsError if it cannot answer here."""
    require_quantization(settings.quantization)
    return _describe(settings.quantization, serving_format(settings))


def describe_training_format(settings: TrainingSettings) -> str:
    """Describe the device and format of rounds; raises SettingsError if they cannot train here."""
    require_training(settings)
    return _describe(settings.quantization, training_format(settings))


def _describe(quantization: str, dtype: str) -> str:
    weights = f"{quantization} weights and {dtype}" if quantization else dtype
    return f"in {weights}, on the {'GPU' if has_gpu() else 'CPU'}"


def describe_unlike(settings: Settings) -> str:
    """Return a sentence if rounds judge other weights than those that answer, else an empty text."""
    if settings.model.engine == "remote" or settings.training.quantization == settings.model.quantization:
        return ""
    return (
        "rounds train and judge on 4-bit weights, but the bot answers with unquantised ones: "
        f'set model.quantization = "{settings.training.quantization}" too, so that what is judged is what people read'
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


@contextmanager
def cpu_threads(threads: int) -> Iterator[None]:
    """Let PyTorch use this many threads in the context; 0 changes nothing."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


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
