"""Errors of the trainer."""

from __future__ import annotations

import errno
from typing import ClassVar

from storage.errors import TranslatableError
from storage.models.free_memory import FreeMemory
from storage.sentences import Sentence
from storage.settings.sections import TrainingSettings
from storage.wording import format_bytes, gettext_noop


class TrainerError(TranslatableError):
    """Base class of the errors that this package raises on purpose."""

    exit_code: ClassVar[int] = 1
    """Exit code of a command that ends with this error, as in StorageError."""


class TrainingDiverged(TrainerError):
    def __init__(self, step: int) -> None:
        super().__init__(
            gettext_noop("the loss became NaN or infinite at step {step}: lower {setting}"),
            step=step,
            setting="training.learning_rate",
        )
        self.step = step


class TooLittleMemory(TrainerError):
    def __init__(self, needed: float, free: FreeMemory, settings: TrainingSettings) -> None:
        plain = gettext_noop(
            "a round needs about {needed} of {memory}, {free} free: stop other programs, train on a larger machine or "
            "choose a smaller model.base"
        )
        quantizing = gettext_noop(
            "a round needs about {needed} of {memory}, {free} free: stop other programs, set training.quantization = "
            '"4bit", train on a larger machine or choose a smaller model.base'
        )
        super().__init__(
            quantizing if free.is_gpu and not settings.quantization else plain,
            needed=format_bytes(needed),
            memory=Sentence(free.kind),
            free=format_bytes(free.free),
        )
        self.needed = needed
        self.free = free


REFUSED_BY_PYTORCH = ("can't allocate memory", "not enough memory")
"""Parts of the RuntimeError of PyTorch's CPU allocator, on Linux and on Windows."""


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether the error, or one that caused it, means that memory ran out. Imports no PyTorch."""
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"  # PyTorch's error for GPUs
        or (isinstance(error, OSError) and error.errno == errno.ENOMEM)
        or (isinstance(error, RuntimeError) and any(words in str(error) for words in REFUSED_BY_PYTORCH))
        or (error.__cause__ is not None and is_out_of_memory(error.__cause__))
    )
