"""The model of what members like, against the same model written down plainly and solved by other means."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit, log_expit, log_softmax

from storage.style import FARTHEST, MEASURES
from storage.taste.model import (
    LEAD_SD,
    LIKES_MEAN,
    LIKES_SD,
    PRECISION,
    VOTER_SD,
    Choices,
    Posterior,
    Thumbs,
    add_thumbs,
    choice_shares,
    fit,
    lone_effects,
    prior,
)

Floats = NDArray[Any]

GROUPS = ("length", "length", "form", "form")
TRUTH = np.array([1.5, -0.5, 0.0, 0.0])
ALL_GROUPS = tuple(measure.group for measure in MEASURES)


def test_a_choice_teaches_most_where_nothing_is_known_and_nothing_where_answers_are_alike() -> None:
    known = replace(prior(GROUPS), mean=np.array([3.0, 0, 0, 0]), covariance=np.diag([0.01, 0.01, 1.0, 1.0]))
    first = np.zeros((5, len(GROUPS)))
    second = np.array([[0.0, 0, 0, 0], [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [2, 0, 1, 0]])
    alike, sure, weak, unsure, decided = known.lesson(first, second)
    assert alike == 0
    assert unsure == pytest.approx(np.log(1.25))
    assert sure < weak < decided < unsure


def thumbs_of(
    x: Floats,
    liked: Sequence[float] | Floats,
    voter: Sequence[int] | None = None,
    weight: Sequence[float] | None = None,
) -> Thumbs:
    """Return votes that count in full, are of one voter, unless said otherwise."""
    count = len(x)
    voters = np.zeros(count) if voter is None else voter
    return Thumbs(
        np.asarray(x, dtype=float),
        np.asarray(liked, dtype=float),
        np.asarray(voters, dtype=np.intp),
        np.ones(count) if weight is None else np.asarray(weight, dtype=float),
    )


def choices_of(*choices: tuple[Floats, Sequence[float]], size: int = len(GROUPS)) -> Choices:
    """Return choices from (measures of the answers, what each answer got)."""
    sizes = np.array([len(share) for _, share in choices], dtype=np.intp)
    return Choices(
        np.vstack([np.zeros((0, size)), *(x for x, _ in choices)]),
        np.cumsum(sizes) - sizes,
        np.array([part for _, share in choices for part in share], dtype=float),
        np.ones(len(choices)),
        np.zeros(len(choices), dtype=bool),
    )


def no_thumbs(size: int = len(GROUPS)) -> Thumbs:
    return thumbs_of(np.zeros((0, size)), [])


def random_thumbs(seed: int, count: int = 60, voters: int = 1) -> Thumbs:
    """Return votes by the true taste; voter i is more lenient than voter i - 1."""
    random = np.random.default_rng(seed)
    x, voter = random.normal(size=(count, len(GROUPS))), random.integers(voters, size=count)
    liked = random.random(count) < expit(x @ TRUTH + voter - voters / 2)
    return thumbs_of(x, liked, voter, random.uniform(0.3, 1.0, count))


def random_choices(seed: int, sizes: Sequence[int] = (2, 3, 5, 2, 4, 2, 3)) -> Choices:
    """Return choices by the true taste, and one "about the same"; in some, the first answer was shown first."""
    random = np.random.default_rng(seed)
    chosen = []
    for size in sizes:
        x = random.normal(size=(size, len(GROUPS)))
        chosen.append((x, random.multinomial(1, np.exp(log_softmax(x @ TRUTH)))))
    same = (random.normal(size=(3, len(GROUPS))), [1 / 3] * 3)
    found = choices_of(*chosen, same)
    in_order = random.random(len(found.starts)) < 0.5
    return replace(found, weight=random.uniform(0.3, 1.0, len(found.starts)), in_order=in_order)


def start_of(voters: int, precision: Sequence[float] = (2.0, 3.0, 1.0, 5.0)) -> Posterior:
    return replace(prior(GROUPS, voters), precision=np.array(precision))


def height(at: Floats, thumbs: Thumbs, choices: Choices, precision: Floats) -> float:
    """Return the log posterior without its constant: coefficients, first answer's and server's intercept, voters'."""
    size = len(precision)
    mean, lead, likes, leniency = at[:size], at[size], at[size + 1], at[size + 2 :]
    found = -0.5 * (precision * mean**2).sum() - 0.5 * ((likes - LIKES_MEAN) / LIKES_SD) ** 2
    found -= 0.5 * (lead / LEAD_SD) ** 2
    found -= 0.5 * ((leniency / VOTER_SD) ** 2).sum()
    sign = np.where(thumbs.liked > 0, 1, -1)
    found += (thumbs.weight * log_expit(sign * (thumbs.x @ mean + likes + leniency[thumbs.voter]))).sum()
    ends = np.append(choices.starts, len(choices.x))[1:]
    for start, end, weight in zip(choices.starts, ends, choices.weight, strict=True):
        found += (
            weight
            * (choices.share[start:end] * log_softmax((choices.x @ mean + lead * choices.shown_first)[start:end])).sum()
        )
    return float(found)


def hessian(at: Floats, *problem: Any, step: float = 1e-3) -> Floats:
    """Return the second derivatives of the height, by central differences."""
    moves = step * np.eye(len(at))

    def along(i: int, j: int) -> float:
        return sum(a * b * height(at + a * moves[i] + b * moves[j], *problem) for a in (1, -1) for b in (1, -1))

    size = range(len(at))
    return np.array([[along(i, j) for j in size] for i in size]) / (4 * step**2)


def point(found: Posterior) -> Floats:
    return np.concatenate([found.mean, [found.lead, found.likes], found.leniency])


def is_finite(found: Posterior) -> bool:
    return all(np.isfinite(number).all() for number in numbers_of(found))


def numbers_of(found: Posterior) -> list[Floats]:
    numbers = dict(vars(found))
    return [*numbers.pop("curvature"), *map(np.asarray, numbers.values())]


PROBLEMS = {
    "one voter": (random_thumbs(1), choices_of(), 1),
    "several voters": (random_thumbs(2, voters=5), choices_of(), 5),
    "choices only": (no_thumbs(), random_choices(3), 0),
    "votes and choices": (random_thumbs(4, voters=3), random_choices(5), 3),
}
each_problem = pytest.mark.parametrize(("thumbs", "choices", "voters"), PROBLEMS.values(), ids=PROBLEMS)


# The posterior


@each_problem
def test_the_mode_is_where_another_optimizer_finds_it(thumbs: Thumbs, choices: Choices, voters: int) -> None:
    start = start_of(voters)
    found = fit(thumbs, choices, GROUPS, start, hyper_steps=0)
    other = minimize(
        lambda at: -height(at, thumbs, choices, start.precision), point(start), method="BFGS", options={"gtol": 1e-7}
    )
    assert point(found) == pytest.approx(other.x, abs=1e-4)


@each_problem
def test_the_covariance_is_the_inverse_curvature_with_the_voters_integrated_out(
    thumbs: Thumbs, choices: Choices, voters: int
) -> None:
    start, size = start_of(voters), len(GROUPS)
    found = fit(thumbs, choices, GROUPS, start, hyper_steps=0)
    whole = np.linalg.inv(-hessian(point(found), thumbs, choices, start.precision))
    assert found.covariance == pytest.approx(whole[:size, :size], rel=1e-3, abs=1e-5)
    assert found.likes_variance == pytest.approx(whole[size + 1, size + 1], rel=1e-3)


def test_choices_between_two_answers_are_scikit_learns_logistic_regression() -> None:
    from sklearn.linear_model import LogisticRegression  # it takes a second to import

    random = np.random.default_rng(7)
    first, second = random.normal(size=(2, 80, len(GROUPS)))
    is_first = random.random(80) < expit((first - second) @ TRUTH)
    pairs = [(np.array(pair), [won, not won]) for *pair, won in zip(first, second, is_first, strict=True)]
    found = fit(no_thumbs(), choices_of(*pairs), GROUPS, prior(GROUPS), hyper_steps=0)
    theirs = LogisticRegression(C=1 / PRECISION, fit_intercept=False, tol=1e-8).fit(first - second, is_first)
    assert found.mean == pytest.approx(theirs.coef_[0], abs=1e-5)


@pytest.mark.parametrize("hyper_steps", [0, 4])
@given(seed=st.integers(0, 2**32 - 1), far=st.sampled_from([0.3, 3.0, 10.0]))
def test_the_result_does_not_depend_on_where_the_search_starts(hyper_steps: int, seed: int, far: float) -> None:
    thumbs, choices, voters = PROBLEMS["votes and choices"]
    random, usual = np.random.default_rng(seed), start_of(voters)
    start = replace(
        usual,
        mean=random.normal(scale=far, size=len(GROUPS)),
        likes=random.normal(scale=far),
        leniency=random.normal(scale=far, size=voters),
    )
    found = fit(thumbs, choices, GROUPS, start, hyper_steps=hyper_steps)
    expected = fit(thumbs, choices, GROUPS, usual, hyper_steps=hyper_steps)
    assert point(found) == pytest.approx(point(expected), abs=1e-3)
    assert found.covariance == pytest.approx(expected.covariance, rel=1e-2, abs=1e-4)


def test_the_search_goes_on_until_every_voters_intercept_is_found() -> None:
    liked = expit(LIKES_MEAN)  # with these weights, the first step leaves the server's intercept where it is
    against = 40 * (1 - liked) / (4 * liked + 10 * liked * (1 - liked) * (2 * liked - 1))
    thumbs = thumbs_of(np.zeros((2, 0)), [1, 0], voter=[0, 1], weight=[10, against])
    start, nothing = prior((), 2), choices_of(size=0)
    other = minimize(lambda at: -height(at, thumbs, nothing, start.precision), point(start), options={"gtol": 1e-7})
    assert point(fit(thumbs, nothing, (), start, hyper_steps=0)) == pytest.approx(other.x, abs=1e-4)


def test_two_votes_of_half_weight_count_like_one() -> None:
    x = np.array([[1.0, -1.0, 0.5, 0.0]])
    halves, whole = thumbs_of(np.vstack([x, x]), [1, 1], weight=[0.5, 0.5]), thumbs_of(x, [1])
    found, expected = (fit(thumbs, choices_of(), GROUPS, prior(GROUPS, 1)) for thumbs in (halves, whole))
    assert point(found) == pytest.approx(point(expected), abs=1e-6)


def test_measures_that_explain_votes_are_held_back_less_than_those_that_do_not() -> None:
    found = fit(random_thumbs(9, count=500), choices_of(), GROUPS, prior(GROUPS, 1))
    length, form = found.precision[:2], found.precision[2:]
    assert length[0] == length[1] < PRECISION < form[0] == form[1]
    assert found.mean[:2] == pytest.approx(TRUTH[:2], abs=0.5)
    assert np.abs(found.mean[2:]).max() < 0.2


def test_without_votes_the_prior_stays() -> None:
    found, expected = fit(no_thumbs(), choices_of(), GROUPS, prior(GROUPS)), prior(GROUPS)
    for value, known in zip(numbers_of(found), numbers_of(expected), strict=True):
        assert value == pytest.approx(known)


def test_a_few_more_votes_are_added_as_if_all_had_been_there() -> None:
    every = random_thumbs(11, count=2_020, voters=7)
    before, news = (
        Thumbs(*(column[part] for column in vars(every).values())) for part in (slice(2_000), slice(2_000, None))
    )
    start = fit(before, choices_of(), GROUPS, prior(GROUPS, 7))
    added, whole = add_thumbs(start, news), fit(every, choices_of(), GROUPS, start, hyper_steps=0)
    for name in ("mean", "covariance", "leniency", "likes", "likes_variance"):
        assert getattr(added, name) == pytest.approx(getattr(whole, name), abs=1e-3)
    assert np.abs(added.mean - start.mean).max() > 5e-3


# Choices


def test_an_answer_is_chosen_in_proportion_to_the_exponential_of_its_utility() -> None:
    utility = np.array([1.0, 2.0, 3.0, 0.0, 1_000.0])
    choices = choices_of((utility[:3, None], [0, 0, 1]), (utility[3:, None], [0, 1]), size=1)
    e = np.e
    expected = [1 / (1 + e + e**2), e / (1 + e + e**2), e**2 / (1 + e + e**2), 0, 1]
    assert choice_shares(choices, utility) == pytest.approx(expected)


def test_of_two_answers_one_is_chosen_as_likely_as_it_is_better() -> None:
    known = replace(prior(GROUPS), mean=TRUTH, covariance=np.diag([0.5, 2.0, 0.1, 3.0]))
    x = np.random.default_rng(3).normal(size=(2, len(GROUPS)))
    first, second = known.p_chosen(choices_of((x, [1, 0])))
    assert first == pytest.approx(known.p_better(x[:1], x[1:])[0])
    assert first + second == pytest.approx(1)


def test_what_is_unsure_is_expected_less_surely_of_many_answers_too() -> None:
    x = np.random.default_rng(4).normal(size=(4, len(GROUPS)))
    choices = choices_of((x, [1, 0, 0, 0]))
    sure, unsure = (replace(prior(GROUPS), mean=TRUTH, covariance=np.eye(4) * size) for size in (1e-9, 10.0))
    assert sure.p_chosen(choices) == pytest.approx(choice_shares(choices, x @ TRUTH))
    assert unsure.p_chosen(choices).sum() == pytest.approx(1)
    assert np.ptp(unsure.p_chosen(choices)) < np.ptp(sure.p_chosen(choices)) / 2


def test_members_who_prefer_whatever_comes_first_do_not_say_that_unusual_answers_are_bad() -> None:
    """The second answer of a pair in the chat is the more unusual one, because its choice teaches more."""
    random = np.random.default_rng(6)
    pairs = []
    for _ in range(200):
        x = np.zeros((2, len(GROUPS)))
        x[:, 0] = random.normal(), random.normal(1.5)
        is_first = float(random.random() < 0.65)
        pairs.append((x, [is_first, 1 - is_first]))
    unknown = choices_of(*pairs)
    shown = replace(unknown, in_order=np.ones(len(pairs), dtype=bool))
    known = fit(no_thumbs(), shown, GROUPS, start_of(0), hyper_steps=0)
    confused = fit(no_thumbs(), unknown, GROUPS, start_of(0), hyper_steps=0)
    assert confused.mean[0] < -0.15
    assert abs(known.mean[0]) < abs(confused.mean[0]) / 2
    assert known.lead > 0.3


def test_about_the_same_pulls_two_answers_together() -> None:
    x = np.array([[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0]])
    wins, same = [(x, [1.0, 0.0])] * 5, [(x, [0.5, 0.5])] * 5

    def p_first_is_better(*choices: tuple[Floats, Sequence[float]]) -> float:
        found = fit(no_thumbs(), choices_of(*choices), GROUPS, start_of(0), hyper_steps=0)
        return float(found.p_better(x[:1], x[1:])[0])

    assert 0.5 < p_first_is_better(*wins, *same) < p_first_is_better(*wins) - 0.02
    assert p_first_is_better(*same) == pytest.approx(0.5)


# Predictions

FITTED = fit(*PROBLEMS["votes and choices"][:2], GROUPS, start_of(3))
answers = st.lists(st.floats(-FARTHEST, FARTHEST), min_size=len(GROUPS), max_size=len(GROUPS)).map(
    lambda values: np.array([values])
)


@given(first=answers, second=answers)
def test_one_answer_is_better_as_surely_as_the_other_is_worse(first: Floats, second: Floats) -> None:
    better, worse = FITTED.p_better(first, second), FITTED.p_better(second, first)
    assert better == pytest.approx(1 - worse)
    assert FITTED.p_better(first, first) == 0.5
    if FITTED.score(first) > FITTED.score(second):
        assert better >= 0.5


def test_predictions_are_averages_over_what_the_taste_may_be() -> None:
    random = np.random.default_rng(11)
    x, y = random.normal(size=(2, 6, len(GROUPS)))
    coefficients = random.multivariate_normal(FITTED.mean, FITTED.covariance, size=20_000)
    likes = random.normal(FITTED.likes, FITTED.likes_variance**0.5, size=20_000)
    assert FITTED.p_better(x, y) == pytest.approx(expit(coefficients @ (x - y).T).mean(axis=0), abs=0.02)
    assert FITTED.p_liked(x, 0.5) == pytest.approx(
        expit(coefficients @ x.T + likes[:, None] + 0.5).mean(axis=0), abs=0.02
    )


def test_without_votes_no_answer_is_better_than_another() -> None:
    x, y = np.random.default_rng(12).normal(size=(2, 5, len(GROUPS)))
    assert prior(GROUPS).p_better(x, y).tolist() == [0.5] * 5


# What people may do


def random_answers(count: int) -> Floats:
    return np.random.default_rng(13).normal(size=(count, len(MEASURES)))


def extremes() -> Floats:
    return np.where(np.random.default_rng(14).random((200, len(MEASURES))) < 0.5, FARTHEST, -FARTHEST)


@pytest.mark.parametrize(
    ("x", "liked"),
    [
        (np.ones((10_000, len(MEASURES))), [1] * 10_000),
        (np.full((10_000, len(MEASURES)), FARTHEST), [0, 1] * 5_000),
        (random_answers(200), [1] * 200),
        (random_answers(200), [0] * 200),
        (extremes(), extremes()[:, 0] > 0),
        (np.zeros((200, len(MEASURES))), [0, 1] * 100),
    ],
    ids=[
        "one answer, always liked",
        "one answer, liked by half",
        "only likes",
        "only dislikes",
        "extremes that one measure tells apart",
        "no measure differs",
    ],
)
def test_any_votes_give_finite_numbers(x: Floats, liked: Sequence[float]) -> None:
    found = fit(thumbs_of(x, liked), choices_of(size=len(MEASURES)), ALL_GROUPS, prior(ALL_GROUPS, 1))
    assert is_finite(found)
    likely = found.p_liked(x, found.leniency[0])
    assert ((likely > 0) & (likely < 1)).all()
    assert likely.mean() == pytest.approx(np.mean(liked), abs=0.15)


def test_one_dislike_makes_a_like_of_that_answer_less_likely_but_not_unlikely() -> None:
    x, before = random_answers(1), prior(ALL_GROUPS, 1)
    found = fit(thumbs_of(x, [0]), choices_of(size=len(MEASURES)), ALL_GROUPS, before)
    assert 0.3 < found.p_liked(x)[0] < before.p_liked(x)[0] - 0.1


def test_choices_between_extremes_give_finite_numbers() -> None:
    high, low = np.full((1, len(MEASURES)), FARTHEST), np.full((1, len(MEASURES)), -FARTHEST)
    choices = choices_of(*[(np.vstack([high, low]), [1.0, 0.0])] * 1_000, size=len(MEASURES))
    found = fit(no_thumbs(len(MEASURES)), choices, ALL_GROUPS, prior(ALL_GROUPS))
    assert is_finite(found)
    assert found.p_better(high, low)[0] > 0.99


def test_voters_who_contradict_each_other_differ_in_leniency_and_leave_the_taste_open() -> None:
    x = np.repeat(np.random.default_rng(15).normal(size=(40, len(GROUPS))), 2, axis=0)
    found = fit(thumbs_of(x, [1, 0] * 40, voter=[0, 1] * 40), choices_of(), GROUPS, prior(GROUPS, 2))
    assert is_finite(found)
    assert found.leniency[0] > 1 > -1 > found.leniency[1]
    assert np.abs(found.mean).max() < 0.05


# Each measure alone


def test_a_measure_alone_is_one_newton_step_from_no_effect() -> None:
    thumbs, choices = random_thumbs(3), random_choices(4)
    share = (thumbs.weight @ thumbs.liked + 1) / (thumbs.weight.sum() + 2)
    centred = thumbs.x - np.average(thumbs.x, axis=0, weights=thumbs.weight)
    effects = lone_effects(thumbs, choices)
    ends = np.append(choices.starts, len(choices.x))[1:]
    for place in range(len(GROUPS)):

        def along(size: float, place: int = place) -> float:
            utility = np.log(share / (1 - share)) + size * centred[:, place]
            sign = np.where(thumbs.liked > 0, 1, -1)
            found = (thumbs.weight * log_expit(sign * utility)).sum() - size**2 / 2
            for start, end, weight in zip(choices.starts, ends, choices.weight, strict=True):
                said = log_softmax(size * choices.x[start:end, place])
                found += weight * (choices.share[start:end] * said).sum()
            return float(found)

        step = 1e-3
        slope = (along(step) - along(-step)) / (2 * step)
        curvature = -(along(step) + along(-step) - 2 * along(0)) / step**2
        assert effects[place] == pytest.approx(slope / np.sqrt(curvature), rel=1e-3)


def test_without_votes_no_measure_has_an_effect() -> None:
    assert lone_effects(no_thumbs(), choices_of()).tolist() == [0.0] * len(GROUPS)


@pytest.mark.parametrize("liked", [0.0, 1.0])
def test_votes_of_one_kind_give_no_measure_an_effect(liked: float) -> None:
    thumbs = random_thumbs(5)
    assert lone_effects(replace(thumbs, liked=np.full(60, liked)), choices_of()) == pytest.approx(0, abs=1e-9)
