"""Statistics of votes: confidence intervals of a share, and a sequential test. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from math import sqrt

Z_95 = 1.959964
"""Half-width, in standard deviations, of the middle 95 % of a normal distribution."""
LARGEST_LOG = 700.0
"""About the largest x for which a float can hold e**x."""


def wilson_interval(up: float, total: float) -> tuple[float, float]:
    """Return the 95 % score interval of a share (Wilson 1927), which stays within 0 … 1 and works for few votes.

    With votes of weight below 1 the interval is wider than necessary, because `total` is less than the number of votes.
    """
    if total == 0:
        return 0.0, 1.0
    share, spread = up / total, Z_95**2 / total
    middle = (share + spread / 2) / (1 + spread)
    half = sqrt(spread * share * (1 - share) + spread**2 / 4) / (1 + spread)
    return max(0.0, middle - half), min(1.0, middle + half)


class PreferredSide(StrEnum):
    CHALLENGER = "challenger"
    CHAMPION = "champion"


@dataclass(frozen=True)
class Approval:
    """Votes on one version's answers; each counts by its weight, from 0 to 1."""

    up: float = 0
    down: float = 0

    @property
    def votes(self) -> float:
        return self.up + self.down

    @property
    def share(self) -> float:
        """The share of 👍, or 0.5 without votes."""
        return self.up / self.votes if self.votes else 0.5

    @property
    def interval(self) -> tuple[float, float]:
        return wilson_interval(self.up, self.votes)


@dataclass(frozen=True)
class ApprovalComparison:
    """E-values for "members like the challenger better" and "worse", and the value needed for a decision."""

    better: float
    worse: float
    needed: float

    @property
    def preferred(self) -> PreferredSide | None:
        """The side that members like better, or None while that is undecided."""
        if self.better >= self.needed:
            return PreferredSide.CHALLENGER
        return PreferredSide.CHAMPION if self.worse >= self.needed else None


def compare_approval(challenger: Approval, champion: Approval, alpha: float) -> ApprovalComparison:
    """Test both directions; the probability of ever preferring one of two equally liked versions is at most `alpha`."""
    return ApprovalComparison(
        better=math.exp(min(LARGEST_LOG, log_evidence(challenger, champion))),
        worse=math.exp(min(LARGEST_LOG, log_evidence(champion, challenger))),
        needed=2 / alpha,  # half of alpha for each question
    )


def log_evidence(first: Approval, second: Approval) -> float:
    """Return the natural logarithm of the e-value against "the first is not liked better than the second"."""
    mixture = _log_beta(1 + first.up, 1 + first.down) + _log_beta(1 + second.up, 1 + second.down)
    if first.share <= second.share:  # the hypothesis "not better" contains the best fit
        return mixture - _log_likelihood(first) - _log_likelihood(second)
    return mixture - _log_likelihood(Approval(first.up + second.up, first.down + second.down))


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)


def _log_likelihood(approval: Approval) -> float:
    """Return the log-likelihood of the votes under the best-fitting probability of a 👍."""
    return sum(count * math.log(count / approval.votes) for count in (approval.up, approval.down) if count)
