"""Errors of the trainer."""

from __future__ import annotations

import errno
from typing import ClassVar

from storage.models.free_memory import FreeMemory
from storage.settings.sections import TrainingSettings
from storage.wording import format_bytes


class TrainerError(Exception):
    """Base class of the errors that this package raises on purpose."""

    exit_code: ClassVar[int] = 1
    """As of StorageError."""


class TrainingDiverged(TrainerError):
    def __init__(self, step: int, setting: str = "training.learning_rate") -> None:
        super().__init__(f"the loss became NaN or infinite at step {step}: lower {setting}")
        self.step = step


class TooLittleMemory(TrainerError):
    def __init__(self, needed: float, free: FreeMemory, settings: TrainingSettings) -> None:
        quantize = 'set training.quantization = "4bit", ' if free.is_gpu and not settings.quantization else ""
        super().__init__(
            f"a round needs about {format_bytes(needed)} of {free.kind}, {format_bytes(free.free)} free: stop other "
            f"programs, {quantize}lower training.max_tokens ({settings.max_tokens}) or choose a smaller model.base"
        )
        self.needed = needed
        self.free = free


REFUSED_BY_PYTORCH = ("can't allocate memory", "not enough memory")
"""What the RuntimeError of PyTorch's allocator on a CPU says, on Linux and on Windows."""


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether the error, or one that caused it, says that there was no memory; imports no PyTorch."""
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"  # PyTorch's, of a GPU
        or (isinstance(error, OSError) and error.errno == errno.ENOMEM)
        or (isinstance(error, RuntimeError) and any(words in str(error) for words in REFUSED_BY_PYTORCH))
        or (error.__cause__ is not None and is_out_of_memory(error.__cause__))
    )
