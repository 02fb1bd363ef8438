"""What weak votes say, such as thanks: learned from whether they come after answers that votes show to be liked.

After each answer that is watched, its asker does something or not. Its log odds are a logistic regression of their own:
an intercept for the kind, one for each asker (some always say thanks), and a weight times the answer's utility. The
weight is in thumbs, because the log odds of a 👍 rise by one times the utility; it is learned with the taste that votes
alone gave, so that weak votes cannot confirm each other. Its prior expects nothing: a kind says only what votes show.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from storage.database.enums import WeakVote
from storage.members import Pseudonym
from storage.taste.model import Choices, Floats, Places, Thumbs, fit, prior
from storage.taste.weak_evidence import WeakSign

WEIGHT_SD = 0.5
"""Prior of a weight, around 0."""
LEAST, MOST = 0.0, 1.0
"""A weak vote never says the opposite, and never more than a thumb."""
SIDE: Mapping[WeakVote, float] = {WeakVote.THANKED: 1.0, WeakVote.WENT_ON: 1.0, WeakVote.ASKED_AGAIN: -1.0}
NO_CHOICES = Choices(np.zeros((0, 1)), np.zeros(0, dtype=np.intp), np.zeros(0), np.zeros(0))


@dataclass(frozen=True)
class WeakSigns:
    """Of one kind, after N answers."""

    kind: WeakVote
    x: Floats
    """Scaled measures of the answers, (N, D)."""
    happened: Floats
    """1 or 0, (N,)."""
    voter: Places
    """Index of each answer's asker, (N,)."""
    weight: Floats
    """(N,)"""

    @property
    def times(self) -> int:
        return int(self.happened.sum())

    @property
    def says_something(self) -> bool:
        """Return whether it sometimes happened and sometimes did not."""
        return 0 < self.times < len(self.happened)


@dataclass(frozen=True)
class WeakMeaning:
    """What a kind of weak vote says about an answer."""

    kind: WeakVote
    times: int
    """How often it happened."""
    watched: int
    """After how many answers it could have happened."""
    weight: float
    """In thumbs of its side."""
    spread: float
    """Standard deviation of the weight."""
    log_odds: Floats
    """Of each sign that it happens, (N,)."""


def arrange_signs(signs: Sequence[WeakSign], rows: Mapping[int, NDArray[Any]]) -> tuple[WeakSigns, ...]:
    """Return the signs of each kind; `rows` has the scaled measures of answers, and signs after others are left out."""
    known = [sign for sign in signs if sign.reply_id in rows]
    return tuple(
        _of_kind(kind, [sign for sign in known if sign.kind is kind], rows)
        for kind in WeakVote
        if any(sign.kind is kind for sign in known)
    )


def _of_kind(kind: WeakVote, signs: Sequence[WeakSign], rows: Mapping[int, NDArray[Any]]) -> WeakSigns:
    voters: dict[Pseudonym, int] = {}
    return WeakSigns(
        kind,
        np.array([rows[sign.reply_id] for sign in signs]),
        np.array([float(sign.happened) for sign in signs]),
        np.array([voters.setdefault(sign.voter, len(voters)) for sign in signs], dtype=np.intp),
        np.array([sign.weight for sign in signs]),
    )


def learn_meaning(signs: WeakSigns, mean: Floats) -> WeakMeaning:
    """Return what the kind says if the coefficients of the measures are these, (D,)."""
    utility = SIDE[signs.kind] * (signs.x @ mean)
    seen = Thumbs(utility[:, None], signs.happened, signs.voter, signs.weight)
    start = replace(prior(("weight",), int(signs.voter.max()) + 1), precision=np.array([WEIGHT_SD**-2]))
    found = fit(seen, NO_CHOICES, (), start, hyper_steps=0)
    weight = float(np.clip(found.mean[0], LEAST, MOST))
    return WeakMeaning(
        kind=signs.kind,
        times=signs.times,
        watched=len(signs.happened),
        weight=weight,
        spread=float(np.sqrt(found.covariance[0, 0])),
        log_odds=found.likes + found.leniency[signs.voter] + weight * utility,
    )


class WeakEvidence:
    """The log likelihood of weak votes under other coefficients, with their weights and intercepts as learned.

    A kind's intercept gives way to what the coefficients change on average, so only differences between answers count.
    """

    def __init__(self, signs: Sequence[WeakSigns], meanings: Sequence[WeakMeaning], mean: Floats) -> None:
        """`mean` are the coefficients with which the meanings were learned, (D,)."""
        self._x = np.concatenate([_centred(*one) for one in zip(signs, meanings, strict=True)])
        self._happened = np.concatenate([one.happened for one in signs])
        self._weight = np.concatenate([one.weight for one in signs])
        self._start = np.concatenate([one.log_odds for one in meanings]) - self._x @ mean

    def height(self, mean: Floats) -> float:
        """Return the log likelihood; `mean` are the coefficients of the measures, (D,)."""
        sign = 2 * self._happened - 1
        return -float(self._weight @ np.logaddexp(0, -sign * (self._start + self._x @ mean)))

    def add_slope(self, mean: Floats, gradient: Floats, curvature: Floats) -> None:
        """Add the gradient, (D,), and the negative Hessian, (D, D), of `height`."""
        share = _logistic(self._start + self._x @ mean)
        gradient += self._x.T @ (self._weight * (self._happened - share))
        curvature += (self._x * (self._weight * share * (1 - share))[:, None]).T @ self._x


def _centred(signs: WeakSigns, meaning: WeakMeaning) -> Floats:
    """Return what each coefficient adds to the log odds, (N, D), less its mean where the sign could fall either way."""
    share = _logistic(meaning.log_odds)
    mean = np.average(signs.x, axis=0, weights=signs.weight * share * (1 - share))
    centred: Floats = SIDE[signs.kind] * meaning.weight * (signs.x - mean)
    return centred


def _logistic(x: Floats) -> Floats:
    return np.asarray(0.5 * (1 + np.tanh(0.5 * x)))
