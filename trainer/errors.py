"""Errors of the trainer."""

from __future__ import annotations

from typing import ClassVar

from storage.models.free_memory import FreeMemory, gigabytes
from storage.settings.sections import TrainingSettings


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
            f"a round needs about {gigabytes(needed)} of {free.kind}, {gigabytes(free.free)} free: stop other "
            f"programs, {quantize}lower training.max_tokens ({settings.max_tokens}) or choose a smaller model.base"
        )
        self.needed = needed
        self.free = free
