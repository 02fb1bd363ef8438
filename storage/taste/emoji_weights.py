"""How much each emoji says, learned from which one people choose under answers that are liked more or less.

Whoever likes an answer chooses one of the emoji that say so. The more the answer is liked anyway, the likelier is one
that means it. An emoji says w thumbs if its log odds against the thumb of its side rise w - 1 times as fast with the
answer's utility as the log probability of that side does: then it is as much evidence of what people like as w thumbs.
It is a stereotype model (Anderson 1984, "Regression and Ordered Categorical Variables") whose scores for the thumbs are
fixed. The configured weight is the mean of a normal prior; the posterior is Laplace's approximation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from storage.emoji import THUMBS

Floats = NDArray[Any]
Places = NDArray[np.intp]

NO_EMOJI = -1
"""Place of what is said without an emoji."""
WEIGHT_SD = 0.75
"""Prior of a weight around the configured one."""
RATE_SD = 3.0
"""Prior of the log odds of an emoji against the thumb of its side."""
NEWTON_STEPS = 8
LEAST_SPREAD = 1e-9
LEAST, MOST = 0.1, 5.0
"""A weight is kept between them, so that an emoji never says the opposite."""


@dataclass(frozen=True)
class EmojiWeights:
    """K emoji, thumbs among them; a weight is in thumbs of the same side."""

    names: tuple[str, ...]
    sign: Floats
    """1 for a like, -1 for a dislike, (K,)."""
    expected: Floats
    """The configured weights, (K,)."""
    weight: Floats
    spread: Floats
    """Standard deviation of the weight, (K,); 0 for thumbs."""
    rate: Floats
    """Log odds of the emoji against its side's thumb under an answer of utility 0, (K,)."""
    thumb: Floats
    """How fast the log probability of its side rises with the answer's utility, (K,); negative for dislikes."""

    @property
    def slope(self) -> Floats:
        """How fast the log odds against the side's thumb rise with the answer's utility, (K,)."""
        slope: Floats = (self.weight - 1) * self.thumb
        return slope


def expected_weights(configured: Mapping[str, float]) -> EmojiWeights:
    """Return what is known without votes; `configured` has the weights by plain emoji, thumbs included."""
    weights = np.array(list(configured.values()))
    is_thumb = np.array([emoji in THUMBS for emoji in configured])
    return EmojiWeights(
        names=tuple(configured),
        sign=np.sign(weights),
        expected=np.abs(weights),
        weight=np.abs(weights),
        spread=np.where(is_thumb, 0.0, WEIGHT_SD),
        rate=np.zeros(len(weights)),
        thumb=np.sign(weights) / 2,
    )


class EmojiChoices:
    """The emoji that people chose of those that say the same.

    Whoever gave nothing but thumbs chose nothing: perhaps they do not know that other emoji count.
    """

    def __init__(self, known: EmojiWeights, x: Floats, emoji: Places, voter: Places, weight: Floats) -> None:
        """All but `known` are of N votes: scaled measures, (N, D), places of emoji, places of voters, and weights."""
        is_other = known.spread > 0
        who_on_which_side = 2 * voter + (known.sign[emoji] > 0)
        with_others = np.isin(who_on_which_side, who_on_which_side[is_other[emoji] & (emoji != NO_EMOJI)])
        rows = np.flatnonzero(with_others & (emoji != NO_EMOJI))
        self._known, self._x, self._emoji, self._weight = known, x[rows], emoji[rows], weight[rows]
        self._free = np.intersect1d(self._emoji, np.flatnonzero(is_other))
        """Places of the emoji to learn about, (F,)."""
        is_open = ~is_other
        is_open[self._free] = True
        self._is_closed = ~is_open | (known.sign != known.sign[self._emoji][:, None])

    def height(self, mean: Floats) -> float:
        """Return the log likelihood of the choices; `mean` are the coefficients of the measures, (D,)."""
        shares = self._log_shares(self._known, self._x @ mean)
        return float(self._weight @ shares[np.arange(len(shares)), self._emoji])

    def add_slope(self, mean: Floats, gradient: Floats, curvature: Floats) -> None:
        """Add the gradient, (D,), and the negative Hessian, (D, D), of `height`."""
        slope = self._known.slope
        share = np.exp(self._log_shares(self._known, self._x @ mean))
        expected = share @ slope
        bend = self._weight * (share @ slope**2 - expected**2)
        gradient += self._x.T @ (self._weight * (slope[self._emoji] - expected))
        curvature += (self._x * bend[:, None]).T @ self._x

    def learn(self, mean: Floats, likes: float) -> EmojiWeights:
        """Return the weights that the choices ask for if the coefficients and the server's intercept are these."""
        if not len(self._free):
            return self._known
        utility = self._x @ mean
        found = replace(self._known, thumb=self._thumbs(utility, likes))
        for _ in range(NEWTON_STEPS):
            found = self._step(found, utility)
        return found

    def _thumbs(self, utility: Floats, likes: float) -> Floats:
        """Return how fast the log probability of each emoji's side rises with the utility, over the votes' answers."""
        distance = utility - np.average(utility, weights=self._weight)
        spread = self._weight @ distance**2
        if spread < LEAST_SPREAD:
            return self._known.thumb
        of_likes = -(self._weight * distance) @ np.logaddexp(0, -(utility + likes)) / spread
        thumbs: Floats = np.where(self._known.sign > 0, of_likes, of_likes - 1)
        return thumbs

    def _step(self, at: EmojiWeights, utility: Floats) -> EmojiWeights:
        """Take a Newton step in rates and weights."""
        free, size = self._free, len(self._free)
        share = np.exp(self._log_shares(at, utility))[:, free]
        error = (self._emoji[:, None] == free) - share
        features = np.stack([np.ones_like(share), utility[:, None] * at.thumb[free]], axis=2)  # (M, F, 2)
        gradient = np.einsum("m,mf,mfi->fi", self._weight, error, features)
        gradient -= np.stack([at.rate[free] / RATE_SD**2, (at.weight - at.expected)[free] / WEIGHT_SD**2], axis=1)
        expected = (share[:, :, None] * features).reshape(-1, 2 * size)
        curvature = np.diag(np.tile([RATE_SD**-2, WEIGHT_SD**-2], size)) - (self._weight * expected.T) @ expected
        own = np.einsum("m,mf,mfi,mfj->fij", self._weight, share, features, features)
        curvature.reshape(size, 2, size, 2)[range(size), :, range(size), :] += own
        step = np.linalg.solve(curvature, gradient.ravel()).reshape(size, 2)
        rate, weight, spread = at.rate.copy(), at.weight.copy(), at.spread.copy()
        rate[free] += step[:, 0]
        weight[free] = np.clip(weight[free] + step[:, 1], LEAST, MOST)
        spread[free] = np.sqrt(np.linalg.inv(curvature).diagonal()[1::2])
        return replace(at, rate=rate, weight=weight, spread=spread)

    def _log_shares(self, weights: EmojiWeights, utility: Floats) -> Floats:
        """Return the log probability of each emoji, (M, K): log odds against the thumb, over those of the same side."""
        logits = weights.rate + utility[:, None] * weights.slope
        logits[self._is_closed] = -np.inf
        logits -= logits.max(axis=1, keepdims=True, initial=-np.inf)
        shares: Floats = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
        return shares
