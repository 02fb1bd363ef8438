"""A model that took no part in a bench, which judges whether answers make sense."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from statistics import fmean
from typing import Any

from storage.models.base_model import BaseModel, load_model, load_tokenizer
from storage.models.bundled import resolve_coherence_model
from storage.settings.sections import Settings
from trainer.evaluation.measures import Exchange, Fit, answer_log_probabilities, answer_losses, measure_fits

RESAMPLES = 2_000

log = logging.getLogger(__name__)


class Critic:
    """A model that reads answers: the named one; else that of the gate, Gemma 3 270M if installed; else the base."""

    def __init__(self, base: BaseModel, settings: Settings, judge: str = "") -> None:
        name, directory = judge or settings.gate.coherence_model, settings.data.directory
        self._model = resolve_coherence_model(name, directory, log.warning) or base
        self.name = self._model.name

    def losses(self, exchanges: Sequence[Exchange]) -> list[list[float]]:
        return answer_losses(*self._load(), exchanges)

    def fits(self, exchanges: Sequence[Exchange]) -> list[Fit]:
        model, tokenizer = self._load()
        return measure_fits(exchanges, lambda asked: answer_log_probabilities(model, tokenizer, asked))

    def _load(self) -> tuple[Any, Any]:
        return load_model(self._model, "bfloat16"), load_tokenizer(self._model.path)


def describe_fits(fits: Sequence[Fit]) -> dict[str, float]:
    """Return the share of answers whose own message is the likeliest of six, and the mean fit in nats."""
    likeliest = fmean(fit.own > max(fit.others) for fit in fits)
    return {"fit_share": likeliest, "fit_nats": fmean(fit.nats for fit in fits)}


def gain_of(before: Sequence[float], after: Sequence[float]) -> dict[str, float]:
    """Return the mean gain over pairs of numbers and its 95 % bootstrap interval."""
    gain, low, high = interval([one - other for one, other in zip(after, before, strict=True)])
    return {"gain": gain, "gain_low": low, "gain_high": high}


def interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Return the mean and its 95 % bootstrap interval over messages."""
    import numpy as np

    numbers = np.array(values)
    draws = np.random.default_rng(0).choice(numbers, (RESAMPLES, len(numbers))).mean(axis=1)
    low, high = np.quantile(draws, (0.025, 0.975))
    return float(numbers.mean()), float(low), float(high)
