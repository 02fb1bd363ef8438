"""Errors of the learning side."""

from __future__ import annotations


class TrainerError(Exception):
    """Root of everything this package raises on purpose."""


class TrainingDiverged(TrainerError):
    def __init__(self, step: int) -> None:
        super().__init__(f"the loss stopped being a number at step {step}: lower training.learning_rate")
        self.step = step
