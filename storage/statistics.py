"""Statistics of votes: the interval of a share, and a sequential test, valid at every look."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from math import sqrt

Z_95 = 1.959964
"""Half the width, in standard deviations, of the central 95 % of a normal distribution."""


def wilson_interval(up: float, total: float) -> tuple[float, float]:
    """Return the 95 % score interval of a share (Wilson 1927), which is within 0 and 1 and works for few votes.

    Votes may weigh less than 1; the interval is then too wide rather than too narrow, as there are more than `total`.
    """
    if total == 0:
        return 0.0, 1.0
    share, spread = up / total, Z_95**2 / total
    middle = (share + spread / 2) / (1 + spread)
    half = sqrt(spread * share * (1 - share) + spread**2 / 4) / (1 + spread)
    return max(0.0, middle - half), min(1.0, middle + half)


LARGEST_LOG = 700.0
"""Near the largest exponent of e that a float can hold."""


class PreferredSide(StrEnum):
    CHALLENGER = "challenger"
    CHAMPION = "champion"


@dataclass(frozen=True)
class Approval:
    """Votes on one version's answers, each from 0 to 1 by its weight."""

    up: float = 0
    down: float = 0

    @property
    def votes(self) -> float:
        return self.up + self.down

    @property
    def share(self) -> float:
        """The share of 👍; 0.5 if nobody voted."""
        return self.up / self.votes if self.votes else 0.5

    @property
    def interval(self) -> tuple[float, float]:
        return wilson_interval(self.up, self.votes)


@dataclass(frozen=True)
class ApprovalComparison:
    """E-values for "the challenger is liked better" and "it is liked less", and the value that decides."""

    better: float
    worse: float
    needed: float

    @property
    def preferred(self) -> PreferredSide | None:
        """Return which of the two is liked better, or None while it is undecided."""
        if self.better >= self.needed:
            return PreferredSide.CHALLENGER
        return PreferredSide.CHAMPION if self.worse >= self.needed else None


def compare_approval(challenger: Approval, champion: Approval, alpha: float) -> ApprovalComparison:
    """Test both; the probability that equally liked versions are ever declared different is at most `alpha`."""
    return ApprovalComparison(
        better=math.exp(min(LARGEST_LOG, log_evidence(challenger, champion))),
        worse=math.exp(min(LARGEST_LOG, log_evidence(champion, challenger))),
        needed=2 / alpha,  # half of alpha for each question
    )


def log_evidence(first: Approval, second: Approval) -> float:
    """Return the natural logarithm of the e-value against "the first is not liked better than the second"."""
    mixture = _log_beta(1 + first.up, 1 + first.down) + _log_beta(1 + second.up, 1 + second.down)
    if first.share <= second.share:  # "not better" explains the votes as well as any hypothesis
        return mixture - _log_likelihood(first) - _log_likelihood(second)
    return mixture - _log_likelihood(Approval(first.up + second.up, first.down + second.down))


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)


def _log_likelihood(approval: Approval) -> float:
    """Return the log-likelihood of the votes under the best-fitting probability of a 👍."""
    return sum(count * math.log(count / approval.votes) for count in (approval.up, approval.down) if count)
