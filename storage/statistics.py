"""Statistics of votes: confidence intervals of a share, and evidence that may be checked after every choice. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, log, sqrt
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Z_95 = 1.959964
"""Half-width, in standard deviations, of the middle 95 % of a normal distribution."""
Z_ONE_SIDED_95 = 1.645
"""The same for a limit on one side."""
FRACTIONS = (0.3, 0.5, 0.7)
"""Shares of their capital that the bettors behind an e-value risk each time: large differences suit bold ones.

Of eight sets tried on versions as rounds make them, these decided soonest."""
DECISIVE = 20.0
"""The e-value that chance reaches in at most one of 20 cases."""
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


def e_value(bets: Sequence[float]) -> float:
    """Return the evidence against "wins are not more likely than losses", after any number of bets.

    A bet is the stake, up to 1, negative if it was lost; it must be fixed before the choice. Each bettor starts with 1
    and multiplies it by 1 + fraction * bet; the e-value is the mean of their capitals. While the hypothesis holds, no
    bet makes anybody richer on average, so the probability that the e-value *ever* reaches x is at most 1/x (Ville's
    inequality), however often one looks. Choices that decide nothing are no bets and cost nothing. Betting:
    Waudby-Smith and Ramdas 2023; e-values: Ramdas, Gruenwald, Vovk and Shafer 2023.
    """
    return mean_capital(log_capitals(bets))


def bets_left(bets: Sequence[float]) -> int | None:
    """Return about how many more bets would decide at the present rate of wins; None if the wins do not lead."""
    growth = float(log_capitals(bets).max()) / max(1, len(bets))
    if growth <= 0:
        return None
    return ceil(max(0.0, log(DECISIVE) - log(e_value(bets))) / growth)


def could_decide(bets: Sequence[float], more: float) -> bool:
    """Return whether `more` further bets could decide, for or against.

    They could if their share of wins were at either end of the 95 % interval of the bets so far.
    """
    least, most = wilson_interval(sum(bet > 0 for bet in bets), len(bets))
    losing = [-bet for bet in bets]
    return _e_value_after(bets, more, most) >= DECISIVE or _e_value_after(losing, more, 1 - least) >= DECISIVE


def _e_value_after(bets: Sequence[float], more: float, share: float) -> float:
    """Estimate the e-value after `more` further bets of 1, of which the fraction `share` is won."""
    won, lost = log_capitals([1]), log_capitals([-1])
    return mean_capital(log_capitals(bets) + more * (share * won + (1 - share) * lost))


def log_capitals(bets: ArrayLike) -> NDArray[Any]:
    """Return the logarithm of each bettor's final capital, by FRACTIONS; logarithms of consecutive bets add up.

    A bet is the gain for each unit at stake, at least -1.
    """
    capitals: NDArray[Any] = np.log1p(np.multiply.outer(FRACTIONS, np.asarray(bets, float))).sum(axis=1)
    return capitals


def mean_capital(logs: NDArray[Any]) -> float:
    return float(np.exp(np.minimum(LARGEST_LOG, logs)).mean())
