"""Lowers a version's strength if its style goes further than the answers that people liked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from storage.settings.sections import GenerationSettings
from storage.taste.liked import Excess, LikedStyle, find_excesses
from trainer.evaluation.sampling import UNLIMITED, MemoryLimits

Z_ONE_SIDED_95 = 1.645
ENOUGH_LIKED = 20
"""With fewer liked answers, a distance is reported and decides nothing."""
MOST_SHOWN = 3
"""Measures that are kept of a comparison, the farthest first."""
MILDER = (0.75, 0.5, 0.25)
"""Fractions of the chosen strength, tried in this order until the version no longer goes too far."""


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


@dataclass(frozen=True)
class StyleBound:
    """What the strength of an adapter is bounded by, and how it is asked."""

    liked: LikedStyle
    prompts: tuple[str, ...]
    """Rendered."""
    generation: GenerationSettings
    seed: int
    most: float
    """gate.max_overshoot"""
    limits: MemoryLimits = UNLIMITED

    def find_strength(self, first: float, answer: Callable[[float], Sequence[str]]) -> tuple[float, str | None]:
        """Return the largest strength up to `first` within the bound, or the smallest, and what was beyond it.

        `answer` answers the prompts at a strength; 0 is how training started. The measure is that which the first
        strength took too far, None if that one stays within the bound.
        """
        base = answer(0.0)
        if (lowered_for := self._exceeded(answer(first), base)) is None:
            return first, None
        milder = [strength for strength in MILDER if strength < first]
        inside = (strength for strength in milder if self._exceeded(answer(strength), base) is None)
        return next(inside, min(milder, default=first)), lowered_for

    def _exceeded(self, answers: Sequence[str], base: Sequence[str]) -> str | None:
        """Return the measure of the answers that is farthest beyond the bound, None if none is."""
        farthest = find_excesses(answers, base, self.liked)[0]
        return farthest.measure if farthest.distance > self.most else None
