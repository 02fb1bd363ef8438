"""The results of an evaluation: how a version's answers differ from the base's, and from those that members liked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import nan, sqrt
from statistics import fmean, stdev

from storage.statistics import Z_ONE_SIDED_95
from storage.taste.liked import Excess, LikedStyle, find_excesses
from storage.taste.likings import Change
from trainer.evaluation.measures import Fit
from trainer.evaluation.suites import SuiteResult

ENOUGH_LIKED = 20
"""Minimum number of liked answers for which a distance counts; with fewer, it is only reported."""
MOST_SHOWN = 3
"""Number of measures kept from a comparison, the farthest first."""


@dataclass(frozen=True)
class Fitness:
    """How well a version's answers fit their messages, compared with the base's answers to the same messages."""

    probability: float
    """Mean probability that the judge finds an answer's own message among six; chance is a sixth."""
    probability_base: float
    error: float
    """Standard error of the difference to the base, message by message."""

    @classmethod
    def measure(cls, fits: Sequence[Fit], base: Sequence[Fit]) -> Fitness:
        """Compare the answers with `base`, the base's answers to the same messages. NaN with fewer than two."""
        if len(fits) < 2:
            return cls(nan, nan, nan)
        ours, theirs = ([fit.probability for fit in of] for of in (fits, base))
        losses = [before - now for now, before in zip(ours, theirs, strict=True)]
        return cls(fmean(ours), fmean(theirs), stdev(losses) / sqrt(len(losses)))

    @property
    def loss(self) -> float:
        """The probability for the base's answers less that for the version's; positive if the version's fit worse."""
        return self.probability_base - self.probability

    @property
    def clear_loss(self) -> float:
        """The loss that chance does not explain (one-sided, 95 %)."""
        return self.loss - Z_ONE_SIDED_95 * self.error


@dataclass(frozen=True)
class Overshoot:
    """Distances by which a version's style goes beyond the liked answers."""

    liked: int
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


@dataclass(frozen=True)
class Evaluation:
    """A version compared with the base; NaN for a number that could not be computed."""

    divergence: float
    """Mean KL(version || base) over the version's own answers, in nats per token."""
    retention_loss_ratio: float
    """Loss on the retention text over the base's."""
    coherence_ratio: float
    """Loss of the version's answers under the coherence model, over the highest of three at the same positions: that of
    the base's answers, of answers that members liked or wrote as examples, and of plain human ones."""
    coherence_model: str
    """The coherence model's name, as part of a sentence."""
    fitness: Fitness
    """Fit of the answers to their messages, under the coherence model."""
    disorder: float
    """Loss of the version's answers under the coherence model, over that of the same answers with shuffled words."""
    disorder_good: float
    """The highest disorder among good answers: the base's own, liked or written ones, and plain human ones."""
    degenerate_share: float
    degenerate_share_base: float
    alike_share: float
    """Share of answers that resemble another one."""
    alike_share_base: float
    answer_tokens: float
    """Mean number of tokens of a whole answer."""
    answer_tokens_base: float
    cut_share: float
    """Share of answers that reach generation.max_new_tokens without an end."""
    cut_share_base: float
    messages: int
    """Number of messages that both models answered."""
    real_messages: int
    """Number of those messages that members wrote."""
    repeated_share: float
    """Share of answers that repeat an example or a liked answer word for word after another message."""
    repeated_share_base: float
    overshoot: Overshoot | None
    """Comparison with the style of liked answers; None if people have liked no answer."""
    changes: tuple[Change, ...]
    """The clearest differences in style from the base's answers, for people to read."""
    suites: tuple[SuiteResult, ...]
    everyday: tuple[tuple[str, str], ...]
    """The first of our own messages with the version's answers, for people to read."""
