"""Errors of the trainer."""

from __future__ import annotations

from typing import ClassVar


class TrainerError(Exception):
    """Base class of the errors that this package raises on purpose."""

    exit_code: ClassVar[int] = 1
    """As of StorageError."""


class TrainingDiverged(TrainerError):
    def __init__(self, step: int, setting: str = "training.learning_rate") -> None:
        super().__init__(f"the loss became NaN or infinite at step {step}: lower {setting}")
        self.step = step
