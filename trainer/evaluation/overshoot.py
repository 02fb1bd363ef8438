"""Measures whether a version's style goes further than the answers that people liked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from storage.taste.liked import Excess, LikedStyle, find_excesses

Z_ONE_SIDED_95 = 1.645
ENOUGH_LIKED = 20
"""Minimum number of liked answers for which a distance counts; with fewer, it is only reported."""
MOST_SHOWN = 3
"""Number of measures kept from a comparison, the farthest first."""


@dataclass(frozen=True)
class Overshoot:
    """Distances by which a version's style goes beyond the liked answers."""

    liked: int
    """Number of liked answers."""
    farthest: tuple[Excess, ...]
    """The largest excesses, largest first."""

    @classmethod
    def measure(cls, answers: Sequence[str], base: Sequence[str], liked: LikedStyle) -> Overshoot:
        """Compare the answers with the liked ones; `base` holds the base's answers to the same prompts."""
        return cls(liked.answers, tuple(find_excesses(answers, base, liked)[:MOST_SHOWN]))

    @property
    def is_judged(self) -> bool:
        return self.liked >= ENOUGH_LIKED

    def beyond(self, most: float) -> list[Excess]:
        """Return the excesses above this distance that chance does not explain (one-sided, 95 %)."""
        return [excess for excess in self.farthest if excess.distance - Z_ONE_SIDED_95 * excess.error > most]
