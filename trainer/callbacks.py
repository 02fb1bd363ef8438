"""What is noted while TRL trains: the loss of every step, and the best pass. Imports transformers: import it late."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from transformers import TrainerCallback

from trainer.errors import TrainingDiverged
from trainer.progress import Progress, Report

if TYPE_CHECKING:
    from torch import Tensor


class LossHistory(TrainerCallback):  # type: ignore[misc]
    """Keeps the loss of every step and reports it."""

    def __init__(self, report: Report) -> None:
        self.losses: list[float] = []
        self._report = report
        self._started = time.monotonic()

    def on_train_begin(self, _args: Any, state: Any, _control: Any, **_others: Any) -> None:
        self._started = time.monotonic()
        self._report(Progress("training", 0, state.max_steps))

    def on_log(self, _args: Any, state: Any, _control: Any, logs: dict[str, float], **_others: Any) -> None:
        if "loss" not in logs:
            return
        self.losses.append(logs["loss"])
        step, steps = state.global_step, state.max_steps
        seconds_left = (time.monotonic() - self._started) / step * (steps - step)
        self._report(Progress("training", step, steps, logs["loss"], seconds_left))


class BestPass(TrainerCallback):  # type: ignore[misc]
    """Keeps the adapter of the pass with the lowest validation loss; ends training after `patience` worse ones."""

    def __init__(self, patience: int) -> None:
        self._patience = patience
        self._loss = float("inf")
        self._weights: dict[str, Tensor] = {}
        self._epoch: float | None = None
        self._waited = 0

    def on_evaluate(
        self, _args: Any, state: Any, control: Any, metrics: dict[str, float], model: Any, **_others: Any
    ) -> None:
        loss = metrics["eval_loss"]
        if not math.isfinite(loss):
            raise TrainingDiverged(state.global_step)
        if loss < self._loss:
            self._loss, self._epoch, self._waited = loss, state.epoch, 0
            self._weights = {name: weight.detach().clone() for name, weight in _trained(model)}
        else:
            self._waited += 1
        if self._waited >= self._patience:
            control.should_training_stop = True

    def restore(self, model: Any) -> float | None:
        """Put the best weights back; return after how many passes they stood so, None where nothing was validated."""
        for name, weight in _trained(model) if self._weights else ():
            weight.data.copy_(self._weights[name])
        return self._epoch


def _trained(model: Any) -> Iterator[tuple[str, Tensor]]:
    return ((name, weight) for name, weight in model.named_parameters() if weight.requires_grad)
