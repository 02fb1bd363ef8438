"""How sure a share of 👍 is; pure."""

from __future__ import annotations

from math import sqrt

Z_95 = 1.959964
"""Half the width, in standard deviations, of the middle 95 % of a normal distribution."""


def wilson_interval(up: float, total: float) -> tuple[float, float]:
    """Return the 95 % score interval of a share (Wilson 1927), which keeps to 0 … 1 and works for few votes.

    Votes may weigh less than one; the interval is then rather too wide, as more votes than `total` stand behind it.
    """
    if total == 0:
        return 0.0, 1.0
    share, spread = up / total, Z_95**2 / total
    middle = (share + spread / 2) / (1 + spread)
    half = sqrt(spread * share * (1 - share) + spread**2 / 4) / (1 + spread)
    return max(0.0, middle - half), min(1.0, middle + half)
