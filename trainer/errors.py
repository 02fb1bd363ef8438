"""Errors of the trainer."""

from __future__ import annotations


class TrainerError(Exception):
    """Root of the errors that this package raises on purpose."""


class TrainingDiverged(TrainerError):
    def __init__(self, step: int, setting: str = "training.learning_rate") -> None:
        super().__init__(f"the loss stopped being a number at step {step}: lower {setting}")
        self.step = step
