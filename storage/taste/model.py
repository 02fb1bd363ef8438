"""A Bayesian model of members' likes: logistic, with intercepts for the server and for each voter.

The posterior is Laplace's approximation (MacKay 2003, chapter 27); the marginal likelihood sets the strength of each
group's prior (MacKay 1992, "Bayesian Interpolation", section 4). A choice among several answers follows Plackett and
Luce; "about the same" counts as an equal share of a win for each answer; the answer shown first has an intercept of its
own, because some people prefer whatever comes first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController

Floats = NDArray[Any]
Places = NDArray[np.intp]

LIKES_MEAN, LIKES_SD = 1.0, 1.5
"""Prior of the server's intercept: most people are polite."""
VOTER_SD = 0.5
"""Prior of one voter's leniency."""
LEAD_SD = 0.5
"""Prior of an answer's advantage from being shown first."""
PRECISION = 100.0
"""Prior precision of a coefficient: together, the measures explain a standard deviation of 0.7 in log odds."""
PRECISION_SHAPE = 2.0
"""Number of coefficients that the prior of a group's precision counts as."""
LONE_PRECISION = 1.0
"""Prior precision of a coefficient when its measure is looked at alone: no other measure competes for the votes."""
HYPER_STEPS = 4
NEWTON_STEPS = 25
CONVERGED = 1e-4
ROWS_AT_ONCE = 1_000
HALVINGS = 0.5 ** np.arange(20)


@dataclass(frozen=True)
class Thumbs:
    """Votes on N single answers."""

    x: Floats
    """Scaled measures, (N, D)."""
    liked: Floats
    """1 for a like, 0 for a dislike, (N,)."""
    voter: Places
    """Index of each vote's voter, (N,)."""
    weight: Floats
    """Weight of each vote, (N,)."""


@dataclass(frozen=True)
class Choices:
    """C choices, each among the answers to one prompt; the answers of all choices are rows of `x`."""

    x: Floats
    """Scaled measures, (M, D)."""
    starts: Places
    """Index of each choice's first answer, (C,)."""
    share: Floats
    """Each answer's share of its choice, (M,): 1 and 0, or equal shares for "about the same"."""
    weight: Floats
    """Weight of each choice, (C,)."""
    in_order: NDArray[np.bool_]
    """True where we know that the first answer was shown first, (C,)."""

    @property
    def bare(self) -> Choices:
        """The choices without measures: only the order of the answers is left."""
        return replace(self, x=self.x[:, :0])

    @property
    def shown_first(self) -> Floats:
        """1 for each answer that was shown first, else 0, (M,)."""
        first = np.zeros(len(self.x))
        first[self.starts[self.in_order]] = 1
        return first

    @property
    def sizes(self) -> Places:
        """Number of answers in each choice, (C,)."""
        return np.diff(np.append(self.starts, len(self.x)))

    @property
    def decided(self) -> float:
        """The sum of the weights of choices for a single answer."""
        return float(np.repeat(self.weight, self.sizes)[self.share == 1].sum())


class Curvature(NamedTuple):
    """Curvature of the negative log posterior at its mode, in blocks.

    Shared parameters are the coefficients, the first answer's and the server's intercept.
    """

    shared: Floats
    """Curvature of the shared parameters, (D + 2, D + 2)."""
    own: Floats
    """Curvature of the voters' intercepts, (V,)."""
    cross: Floats
    """Curvature between the two, (V, D + 2)."""


@dataclass(frozen=True)
class Posterior:
    """The coefficients of the D measures and the intercepts of V voters, and their certainty."""

    mean: Floats
    """Mean of the coefficients, (D,)."""
    covariance: Floats
    """Covariance of the coefficients, (D, D)."""
    likes: float
    """The server's intercept."""
    likes_variance: float
    leniency: Floats
    """The voters' intercepts, (V,)."""
    precision: Floats
    """Prior precision of each coefficient, (D,)."""
    lead: float
    """An answer's advantage from being shown first, in log odds."""
    curvature: Curvature

    def for_voters(self, voters: int) -> Posterior:
        """Return the posterior with room for new voters."""
        new = voters - len(self.leniency)
        own = np.append(self.curvature.own, np.full(new, VOTER_SD**-2))
        cross = np.vstack([self.curvature.cross, np.zeros((new, self.curvature.cross.shape[1]))])
        leniency = np.append(self.leniency, np.zeros(new))
        return replace(self, leniency=leniency, curvature=Curvature(self.curvature.shared, own, cross))

    def score(self, x: Floats) -> Floats:
        """Return the mean utility of the answers, (N,): the higher, the better liked."""
        return x @ self.mean

    def p_liked(self, x: Floats, leniency: Floats | float = 0.0) -> Floats:
        """Return the probability of a 👍 for each answer, averaged over the posterior."""
        return _averaged(x @ self.mean + self.likes + leniency, self._variance(x) + self.likes_variance)

    def p_better(self, first: Floats, second: Floats) -> Floats:
        """Return the probability that a person prefers each first answer to the second, averaged over the posterior."""
        difference = first - second
        return _averaged(difference @ self.mean, self._variance(difference))

    def lesson(self, first: Floats, second: Floats) -> Floats:
        """Return about twice the information, in nats, that a choice between each first and second answer brings.

        It is largest where the model is unsure which one is better because it knows little about their differences
        (Laplace; Houlsby et al. 2011, arXiv 1112.5745). An even chance alone teaches nothing: two equal answers have it
        too.
        """
        better = self.p_better(first, second)
        lesson: Floats = np.log1p(better * (1 - better) * self._variance(first - second))
        return lesson

    def p_chosen(self, choices: Choices) -> Floats:
        """Return the probability that each answer is chosen, (M,), averaged over the posterior."""
        each, size = np.repeat(choices.sizes, choices.sizes), choices.sizes
        centre = np.add.reduceat(choices.x / each[:, None], choices.starts)
        variance = np.add.reduceat(self._variance(choices.x - np.repeat(centre, size, axis=0)), choices.starts)
        between = 2 * variance / np.maximum(1, size - 1)  # the mean variance of the difference of two answers
        utility = choices.x @ self.mean + self.lead * choices.shown_first
        return choice_shares(choices, utility * np.repeat(_shrinking(between), size))

    def _variance(self, x: Floats) -> Floats:
        variance: Floats = ((x @ self.covariance) * x).sum(axis=1)
        return variance


def prior(groups: Sequence[str], voters: int = 0) -> Posterior:
    """Return the beliefs before the first vote; `groups` names the group of each measure."""
    size = len(groups)
    precision = np.full(size, PRECISION)
    return Posterior(
        mean=np.zeros(size),
        covariance=np.eye(size) / PRECISION,
        likes=LIKES_MEAN,
        likes_variance=LIKES_SD**2,
        leniency=np.zeros(voters),
        precision=precision,
        lead=0.0,
        curvature=Curvature(
            np.diag(_shared_precision(precision)), np.full(voters, VOTER_SD**-2), np.zeros((voters, size + 2))
        ),
    )


def _shared_precision(precision: Floats) -> Floats:
    """Return the prior precisions of coefficients, the first answer's and the server's intercept, (D + 2,)."""
    return np.append(precision, (LEAD_SD**-2, LIKES_SD**-2))


def fit(
    thumbs: Thumbs,
    choices: Choices,
    groups: Sequence[str],
    start: Posterior,
    *,
    hyper_steps: int = HYPER_STEPS,
) -> Posterior:
    """Return the posterior; the search begins at `start`, whose precisions are kept if `hyper_steps` is 0."""
    found = start
    # One thread: on busy cores, waiting for a second one takes a hundred times as long as the products.
    with _libraries().limit(limits=1, user_api="blas"):
        for _ in range(hyper_steps):
            found = _find_mode(thumbs, choices, found)
            found = replace(found, precision=_precision(found, groups))
        return _find_mode(thumbs, choices, found)


def add_thumbs(found: Posterior, news: Thumbs) -> Posterior:
    """Return the posterior after a few more votes of known voters, by one Newton step.

    At the mode only the new votes have a slope, so the old ones are not read and their number does not matter.
    """
    with _libraries().limit(limits=1, user_api="blas"):
        at = _Point(np.append(found.mean, (found.lead, found.likes)), found.leniency)
        x = np.column_stack([news.x, np.zeros(len(news.x)), np.ones(len(news.x))])
        liked = _logistic(x @ at.shared + at.leniency[news.voter])
        error = news.weight * (news.liked - liked)
        bent = x * (news.weight * liked * (1 - liked))[:, None]
        before, voters = found.curvature, len(at.leniency)
        cross = before.cross.copy()
        np.add.at(cross, news.voter, bent)
        curvature = Curvature(
            before.shared + x.T @ bent, before.own + np.bincount(news.voter, bent[:, -1], voters), cross
        )
        step = _newton_step(curvature, x.T @ error, np.bincount(news.voter, error, voters))
        there = _Point(at.shared + step.shared, at.leniency + step.leniency)
        return _at_mode(found, there, curvature)


@cache
def _libraries() -> ThreadpoolController:
    return ThreadpoolController()


def lone_effects(thumbs: Thumbs, choices: Choices) -> Floats:
    """Return each measure's effect, looked at alone, in its standard deviations, (D,); positive if more is liked.

    It is one Newton step from no effect at all. With few votes it is clearer than the posterior of all measures, which
    share the information in the votes.
    """
    slope, curvature = np.zeros(thumbs.x.shape[1]), np.full(thumbs.x.shape[1], LONE_PRECISION)
    if len(thumbs.x):
        weight = thumbs.weight
        share = (weight @ thumbs.liked + 1) / (weight.sum() + 2)  # never 0 or 1
        centred = thumbs.x - np.average(thumbs.x, axis=0, weights=weight)
        slope += centred.T @ (weight * thumbs.liked)
        curvature += share * (1 - share) * (weight @ centred**2)
    if len(choices.starts):
        weight, even = np.repeat(choices.weight, choices.sizes), 1 / np.repeat(choices.sizes, choices.sizes)
        centre = np.add.reduceat(choices.x * even[:, None], choices.starts)
        centred = choices.x - np.repeat(centre, choices.sizes, axis=0)
        slope += centred.T @ (weight * choices.share)
        curvature += (weight * even) @ centred**2
    effects: Floats = slope / np.sqrt(curvature)
    return effects


def _precision(found: Posterior, groups: Sequence[str]) -> Floats:
    """Return the prior precision of each coefficient, as estimated by the marginal likelihood of its group."""
    names, precision = np.array(groups), found.precision.copy()
    for name in dict.fromkeys(groups):
        of_group = names == name
        unknown = (precision * found.covariance.diagonal())[of_group].sum()
        known = max(0.0, of_group.sum() - unknown)
        size = (found.mean[of_group] ** 2).sum()
        precision[of_group] = (known + PRECISION_SHAPE) / (size + PRECISION_SHAPE / PRECISION)
    return precision


class _Point(NamedTuple):
    """Parameters: coefficients, the first answer's and the server's intercept, (D + 2,), and the voters', (V,)."""

    shared: Floats
    leniency: Floats


class _Slope(NamedTuple):
    """Gradient and curvature of the log posterior."""

    gradient: Floats
    own_gradient: Floats
    """Gradient of the voters' intercepts, (V,)."""
    curvature: Curvature


def _find_mode(thumbs: Thumbs, choices: Choices, start: Posterior) -> Posterior:
    """Return the mode and the covariance there, by Newton's method."""
    problem = _Problem(thumbs, choices, start)
    at = _Point(np.append(start.mean, (start.lead, start.likes)), start.leniency)
    for _ in range(NEWTON_STEPS):
        slope = problem.slope(at)
        step = _newton_step(slope.curvature, slope.gradient, slope.own_gradient)
        at = problem.climb(at, step)
        if np.abs(np.append(step.shared, step.leniency)).max() < CONVERGED:
            break
    return _at_mode(start, at, slope.curvature)  # pyrefly: ignore[unbound-name]  # there is at least one step


def _newton_step(curvature: Curvature, gradient: Floats, own_gradient: Floats) -> _Point:
    """Return the Newton step to zero slope; the voters are eliminated from the equations."""
    ratio = curvature.cross / curvature.own[:, None]
    shared = np.linalg.solve(_without_voters(curvature), gradient - ratio.T @ own_gradient)
    return _Point(shared, (own_gradient - curvature.cross @ shared) / curvature.own)


def _without_voters(curvature: Curvature) -> Floats:
    """Return the curvature with the voters' intercepts following the rest, (D + 2, D + 2)."""
    left: Floats = curvature.shared - curvature.cross.T @ (curvature.cross / curvature.own[:, None])
    return left


def _at_mode(start: Posterior, at: _Point, curvature: Curvature) -> Posterior:
    covariance = np.linalg.inv(_without_voters(curvature))
    return replace(
        start,
        mean=at.shared[:-2],
        covariance=covariance[:-2, :-2],
        lead=float(at.shared[-2]),
        likes=float(at.shared[-1]),
        likes_variance=float(covariance[-1, -1]),
        leniency=at.leniency,
        curvature=curvature,
    )


class _Problem:
    """The log posterior, which is concave."""

    def __init__(self, thumbs: Thumbs, choices: Choices, known: Posterior) -> None:
        # Sorted by voter, so that sums by voter are sums of runs: np.add.at would take longer than everything else.
        order = np.argsort(thumbs.voter, kind="stable")
        self._x = np.empty((len(order), len(known.precision) + 2))
        self._x[:, -2:] = 0, 1
        for start in range(0, len(order), ROWS_AT_ONCE):  # blocks that fit into the processor's cache are copied faster
            rows = slice(start, start + ROWS_AT_ONCE)
            self._x[rows, :-2] = thumbs.x[order[rows]]
        rest = (column[order] for column in (thumbs.liked, thumbs.voter, thumbs.weight))
        self._thumbs = Thumbs(self._x[:, :-2], *rest)
        self._voters, self._runs = np.unique(self._thumbs.voter, return_index=True)
        self._bent = np.empty_like(self._x)  # reused memory: allocating it would take as long as filling it
        self._choices = replace(choices, x=np.column_stack([choices.x, choices.shown_first]))
        self._precision = _shared_precision(known.precision)
        self._centre = np.append(np.zeros(len(known.precision)), (0, LIKES_MEAN))

    def climb(self, at: _Point, step: _Point) -> _Point:
        """Return the point after the step, or after a shorter step if that would lead down."""
        height = self._height(at)
        for size in HALVINGS:
            there = _Point(at.shared + size * step.shared, at.leniency + size * step.leniency)
            if self._height(there) >= height:
                return there
        return at

    def slope(self, at: _Point) -> _Slope:
        thumbs, x, voters = self._thumbs, self._x, len(at.leniency)
        liked = _logistic(self._utility(at))
        error = thumbs.weight * (thumbs.liked - liked)
        bend = thumbs.weight * liked * (1 - liked)
        bent = np.multiply(x, bend[:, None], out=self._bent)
        gradient, curvature = x.T @ error, x.T @ bent
        _add_choices(self._choices, at.shared[:-1], gradient, curvature)
        cross = np.zeros((voters, x.shape[1]))
        if len(x):
            cross[self._voters] = np.add.reduceat(bent, self._runs)
        return _Slope(
            gradient - self._precision * (at.shared - self._centre),
            np.bincount(thumbs.voter, error, voters) - at.leniency / VOTER_SD**2,
            Curvature(
                curvature + np.diag(self._precision), np.bincount(thumbs.voter, bend, voters) + VOTER_SD**-2, cross
            ),
        )

    def _utility(self, at: _Point) -> Floats:
        """Return the log odds of each 👍, (N,)."""
        utility: Floats = self._x @ at.shared + at.leniency[self._thumbs.voter]
        return utility

    def _height(self, at: _Point) -> float:
        thumbs, choices = self._thumbs, self._choices
        sign = 2 * thumbs.liked - 1
        height = -(thumbs.weight * np.logaddexp(0, -sign * self._utility(at))).sum()
        height -= (self._precision * (at.shared - self._centre) ** 2).sum() / 2
        height -= (at.leniency**2).sum() / VOTER_SD**2 / 2
        if len(choices.starts):
            weight = np.repeat(choices.weight, choices.sizes)
            height += (weight * choices.share * np.log(choice_shares(choices, choices.x @ at.shared[:-1]))).sum()
        return float(height)


def _add_choices(choices: Choices, mean: Floats, gradient: Floats, curvature: Floats) -> None:
    if len(choices.starts) == 0:
        return
    weight = np.repeat(choices.weight, choices.sizes)
    share = choice_shares(choices, choices.x @ mean)
    centre = np.add.reduceat(choices.x * share[:, None], choices.starts)
    spread = choices.x - np.repeat(centre, choices.sizes, axis=0)
    gradient[:-1] += choices.x.T @ (weight * (choices.share - share))
    curvature[:-1, :-1] += (spread * (weight * share)[:, None]).T @ spread


def choice_shares(choices: Choices, utility: Floats) -> Floats:
    """Return the probability that each answer is chosen, (M,), given these utilities."""
    utility = utility - np.repeat(np.maximum.reduceat(utility, choices.starts), choices.sizes)
    raw = np.exp(utility)
    shares: Floats = raw / np.repeat(np.add.reduceat(raw, choices.starts), choices.sizes)
    return shares


def _logistic(x: Floats) -> Floats:
    return np.asarray(0.5 * (1 + np.tanh(0.5 * x)))


def _averaged(mean: Floats, variance: Floats) -> Floats:
    """Return the logistic function's mean under normal distributions (MacKay 1992, "The Evidence Framework")."""
    return _logistic(mean * _shrinking(variance))


def _shrinking(variance: Floats) -> Floats:
    """Return the factor by which a logistic curve is flattened if its argument has this variance."""
    return np.asarray(1 / np.sqrt(1 + np.pi / 8 * variance))
