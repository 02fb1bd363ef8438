"""Measures how well a version's answers fit their messages, compared with the base's answers to the same messages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import nan, sqrt
from statistics import fmean, stdev

from storage.models.fit import Fit
from trainer.evaluation.overshoot import Z_ONE_SIDED_95


@dataclass(frozen=True)
class Fitness:
    probability: float
    """Mean probability that the judge finds an answer's own message among six; chance is a sixth."""
    probability_base: float
    error: float
    """Standard error of the difference to the base, message by message."""

    @classmethod
    def measure(cls, fits: Sequence[Fit], base: Sequence[Fit]) -> Fitness:
        """Compare the answers; `base` holds the base's to the same messages. NaN with fewer than two answers."""
        if len(fits) < 2:
            return cls(nan, nan, nan)
        ours, theirs = ([fit.probability for fit in of] for of in (fits, base))
        losses = [before - now for now, before in zip(ours, theirs, strict=True)]
        return cls(fmean(ours), fmean(theirs), stdev(losses) / sqrt(len(losses)))

    @property
    def loss(self) -> float:
        """The probability for the base's answers less that for the version's; positive if the version's fit worse."""
        return self.probability_base - self.probability

    @property
    def clear_loss(self) -> float:
        """The loss that chance does not explain (one-sided, 95 %)."""
        return self.loss - Z_ONE_SIDED_95 * self.error
