"""Whether members like one version's answers better than another's, asked after every vote; from counts alone.

Two e-processes, one for each direction. Each is a mixture of likelihoods (Robbins, Statistical methods related to the
law of the iterated logarithm, 1970) over the likelihood most favourable to "it is not so" (universal inference:
Wasserman, Ramdas & Balakrishnan 2020, arXiv 1912.11436). While it is not so, the chance that such a process ever
reaches 1/a is at most a (Ville's inequality), however often one looks and whenever one stops (Ramdas et al. 2023,
Game-theoretic statistics and safe anytime-valid inference, arXiv 2210.01948).

A vote may weigh less than one, w, if what it says does not decide what it weighs: a power w of a likelihood ratio r is
at most 1 - w + w r (Bernoulli), whose mean is 1 where 👍 and 👎 weigh the same on average, so that the mixture still
grows by nothing on average. Failures are 👎 without a voter: they must weigh what votes on the same version weigh on
average. `storage.canaries` takes the average of the votes so far for it, so that with failures beside lighter votes the
bound is not proven, only simulated.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

from storage.intervals import wilson_interval

LARGEST_LOG = 700.0
"""A float holds e to this power, and not much more."""


class Side(StrEnum):
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
        """Return the share of 👍; a half where nobody voted."""
        return self.up / self.votes if self.votes else 0.5

    @property
    def interval(self) -> tuple[float, float]:
        return wilson_interval(self.up, self.votes)


@dataclass(frozen=True)
class Comparison:
    """Evidence (e-values) that members like the challenger better, that they like it less, and what decides."""

    better: float
    worse: float
    needed: float

    @property
    def preferred(self) -> Side | None:
        """Return which of the two is liked better, or None while that is open."""
        if self.better >= self.needed:
            return Side.CHALLENGER
        return Side.CHAMPION if self.worse >= self.needed else None


def compare(challenger: Approval, champion: Approval, alpha: float) -> Comparison:
    """Ask both questions; the chance that two equally liked versions are ever told apart is at most `alpha`."""
    return Comparison(
        better=math.exp(min(LARGEST_LOG, log_evidence(challenger, champion))),
        worse=math.exp(min(LARGEST_LOG, log_evidence(champion, challenger))),
        needed=2 / alpha,  # half of alpha for each question
    )


def log_evidence(first: Approval, second: Approval) -> float:
    """Return the natural logarithm of the e-value against "the first is not liked better than the second"."""
    mixture = _log_beta(1 + first.up, 1 + first.down) + _log_beta(1 + second.up, 1 + second.down)
    if first.share <= second.share:  # "not better" explains the votes as well as anything can
        return mixture - _log_likelihood(first) - _log_likelihood(second)
    return mixture - _log_likelihood(Approval(first.up + second.up, first.down + second.down))


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)


def _log_likelihood(approval: Approval) -> float:
    """Return the log-likelihood of the votes under the chance of a 👍 that fits them best."""
    return sum(count * math.log(count / approval.votes) for count in (approval.up, approval.down) if count)
