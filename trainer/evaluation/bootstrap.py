"""How sure a share of wins is when only some prompts were looked at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

DRAWS = 2_000


@dataclass(frozen=True)
class Contest:
    """One comparison; those of one prompt stand or fall together."""

    prompt: str
    score: float
    """1 is won, 0 is lost, 0.5 is a draw."""
    weight: float
    """At least 0."""


@dataclass(frozen=True)
class Interval:
    share: float
    """Weighted share of wins."""
    low: float
    high: float


def win_interval(contests: Sequence[Contest], confidence: float, seed: int) -> Interval:
    """Return the weighted share of wins with its interval, the wider end of two methods on each side.

    The percentile bootstrap resamples prompts; it shows how much they differ, but shrinks to a point where all agree,
    which a few do by chance. So the exact binomial interval (Clopper and Pearson 1934) stands beside it, each prompt a
    trial, for as many trials as the weights are worth (Kish 1965: square of the sum over the sum of squares). Votes
    cast at random are then called a win in at most (1 - confidence) / 2 of all cases. Needs a positive weight.
    """
    import numpy as np

    prompts = sorted({contest.prompt for contest in contests})
    index = {prompt: i for i, prompt in enumerate(prompts)}
    weights, wins = np.zeros(len(prompts)), np.zeros(len(prompts))
    for contest in contests:
        weights[index[contest.prompt]] += contest.weight
        wins[index[contest.prompt]] += contest.weight * contest.score
    wins, weights = wins[weights > 0], weights[weights > 0]
    share = float(wins.sum() / weights.sum())
    times = np.random.default_rng(seed).multinomial(len(weights), np.full(len(weights), 1 / len(weights)), size=DRAWS)
    drawn = np.quantile((times @ wins) / (times @ weights), [(1 - confidence) / 2, (1 + confidence) / 2])
    exact = _exact_interval(share, float(weights.sum() ** 2 / (weights**2).sum()), confidence)
    return Interval(share, low=min(float(drawn[0]), exact[0]), high=max(float(drawn[1]), exact[1]))


def _exact_interval(share: float, trials: float, confidence: float) -> tuple[float, float]:
    """Clopper and Pearson's interval, which beta quantiles extend to parts of a trial."""
    from scipy.stats import beta

    tail, won, lost = (1 - confidence) / 2, share * trials, (1 - share) * trials
    low = float(beta.ppf(tail, won, lost + 1)) if won > 0 else 0.0
    high = float(beta.ppf(1 - tail, won + 1, lost)) if lost > 0 else 1.0
    return low, high
