"""Tells whether a version's style goes further than the answers that people liked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from storage.taste.liked import Excess, LikedStyle, find_excesses

Z_ONE_SIDED_95 = 1.645
ENOUGH_LIKED = 20
"""With fewer liked answers, a distance is reported and decides nothing."""
MOST_SHOWN = 3
"""Measures that are kept of a comparison, the farthest first."""


@dataclass(frozen=True)
class Overshoot:
    """What a version does more, or less, than the answers that people liked show."""

    liked: int
    """Answers that people liked."""
    farthest: tuple[Excess, ...]
    """The farthest first."""

    @classmethod
    def measure(cls, answers: Sequence[str], base: Sequence[str], liked: LikedStyle) -> Overshoot:
        """Compare the answers; `base` has the base's to the same prompts."""
        return cls(liked.answers, tuple(find_excesses(answers, base, liked)[:MOST_SHOWN]))

    @property
    def is_judged(self) -> bool:
        return self.liked >= ENOUGH_LIKED

    def beyond(self, most: float) -> list[Excess]:
        """Return what is farther than this, and not by the chance of a few answers (one-sided, 95 %)."""
        return [excess for excess in self.farthest if excess.distance - Z_ONE_SIDED_95 * excess.error > most]
