"""Finds the traits that members like, their certainty, the answers that show them, and changes of style, in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import sqrt
from statistics import NormalDist

import numpy as np
from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session

from storage.database.tables import OptOutRow, ReplyRow
from storage.style import MEASURES, Group, Measure, everyday_correlation, measure_named
from storage.taste.learning import Beginning, LearnedTaste, style_begun, style_of
from storage.taste.model import Floats, Posterior, lone_effects

EVERYDAY_ANSWERS = 50
"""Pseudo-count of everyday answers in the measures' correlation."""
ALIKE = 0.6
"""Correlation above which two measures say the same, so that only the clearer one is shown."""
MOST_EFFECTS = 6
MOST_QUESTIONS = 3
CLEAR = 3.3
"""Standard deviations of a clear change: with fifty measures, chance shows one in 5 % of comparisons."""
MOST_SHOWN = 2


class Sureness(StrEnum):
    SURE = "sure"
    FAIRLY = "fairly sure"
    GUESS = "a guess"


LEAST_SURE = {Sureness.SURE: 0.99, Sureness.FAIRLY: 0.95, Sureness.GUESS: 0.6}
"""Minimum probability that the effect has this direction."""
LIKELY = 0.8
"""A less probable guess is shown only if the votes show it when each measure is looked at alone; a dozen votes cannot
do more. docs/internals/statistics.md gives the share of simulated servers in which this shows something."""
LEAST_ALONE = 1.95
"""Number of standard deviations that an effect needs to count when looked at alone."""


@dataclass(frozen=True)
class Effect:
    """The effect of more of a measure on the chance of a 👍, including everything that comes with it."""

    measure: Measure
    size: float
    """Change in the log odds of a 👍 for one standard deviation more."""
    spread: float
    """Standard deviation of the effect."""
    alone: float
    """The measure's effect when looked at alone, in its own standard deviations."""

    @property
    def is_band(self) -> bool:
        return self.measure.group is Group.BAND

    @property
    def certainty(self) -> float:
        """Return the probability that the effect's direction is right."""
        return NormalDist().cdf(abs(self.size) / self.spread)

    @property
    def sureness(self) -> Sureness | None:
        """Return the certainty of the effect's direction; None if there is nothing to show."""
        found = next((sureness for sureness, least in LEAST_SURE.items() if self.certainty >= least), None)
        shows_alone = self.alone * self.size > 0 and abs(self.alone) >= LEAST_ALONE
        return found if self.certainty >= LIKELY or shows_alone else None

    @property
    def words(self) -> str:
        return self.measure.more if self.size > 0 else self.measure.less


def likings(taste: LearnedTaste, most: int = MOST_EFFECTS) -> list[Effect]:
    """Return the effects worth showing, the surest first, without those that repeat another.

    A measure that never differed between the answers is left out, because the votes say nothing about it. Guesses are
    left out if the taste did not improve the prediction of the votes.
    """
    effects, together, differs = _weigh(taste)
    guesses = taste.e_value >= 1
    told: list[int] = []
    for place in sorted(np.flatnonzero(differs).tolist(), key=lambda place: _rank(effects[place])):
        sureness = effects[place].sureness
        if sureness and (guesses or sureness is not Sureness.GUESS) and _is_new(place, told, together):
            told.append(place)
    found = (effects[place] for place in told if effects[place].size > 0 or not effects[place].is_band)
    return sorted(found, key=lambda effect: -effect.certainty)[:most]


def why_chosen(liked: Sequence[Effect], chosen: Beginning, others: Sequence[Beginning]) -> Effect | None:
    """Return the liked trait that most favoured the chosen draft over the others, if any did."""
    x = style_begun([chosen, *others])
    ahead = x[0] - x[1:].mean(axis=0)
    weighed = [(effect.size * ahead[MEASURES.index(effect.measure)], effect) for effect in liked]
    most, effect = max(weighed, key=lambda one: one[0], default=(0.0, None))
    return effect if most > 0 else None


def _rank(effect: Effect) -> tuple[bool, float]:
    """Return a sort key, plain measures first.

    If all answers are short, "16 to 30 words" says no more than "longer answers".
    """
    return effect.is_band, -effect.certainty


def open_questions(taste: LearnedTaste, told: Sequence[Effect]) -> list[Measure]:
    """Return the measures that the votes reveal least about: first any that never differed, then the widest effects."""
    effects, together, differs = _weigh(taste)
    unknown = [place for place, effect in enumerate(effects) if effect.sureness is None or not differs[place]]
    known = [MEASURES.index(effect.measure) for effect in told]
    asked: list[int] = []
    for place in sorted(unknown, key=lambda place: (differs[place], -effects[place].spread)):
        if _is_new(place, known + asked, together):
            asked.append(place)
    return [MEASURES[place] for place in asked[:MOST_QUESTIONS]]


def _weigh(taste: LearnedTaste) -> tuple[list[Effect], Floats, Sequence[bool]]:
    """Return each measure's effect, the correlations, and whether each measure differed between answers."""
    x = np.vstack([taste.data.thumbs.x, taste.data.choices.x])
    together = _correlation(x)
    alone = lone_effects(taste.data.thumbs, taste.data.choices)
    return _effects(taste.posterior, together, alone), together, (x != x[:1]).any(axis=0).tolist()


def _is_new(place: int, others: Sequence[int], together: Floats) -> bool:
    return all(abs(together[place, other]) < ALIKE for other in others)


def _effects(posterior: Posterior, together: Floats, alone: Floats) -> list[Effect]:
    """Return the effect of every measure, in their order.

    A coefficient alone misleads where measures vary together: a measure's effect is its covariance with the utility
    (Haufe et al. 2014, "On the interpretation of weight vectors", eq. 6).
    """
    sizes = together @ posterior.mean
    spreads = np.sqrt((together @ posterior.covariance @ together).diagonal())
    return [Effect(*values) for values in zip(MEASURES, sizes.tolist(), spreads.tolist(), alone.tolist(), strict=True)]


def _correlation(x: Floats) -> Floats:
    """Return the correlation of the measures of these answers and of everyday answers, (D, D)."""
    centred = x - x.mean(axis=0) if len(x) else x
    together = centred.T @ centred + EVERYDAY_ANSWERS * everyday_correlation()
    spread = np.sqrt(together.diagonal())
    found: Floats = together / np.outer(spread, spread)
    return found


def examples_of(
    session: Session, taste: LearnedTaste, personality_id: int, newest: int, *which: ColumnElement[bool]
) -> list[str]:
    """Return the bot's newest answers that `which` selects, from the best liked to the least, by the taste.

    Answers to members who opted out are left out.
    """
    rows = select(ReplyRow.answer).where(
        ReplyRow.personality_id == personality_id,
        ReplyRow.answer != "",
        ReplyRow.author_id.not_in(select(OptOutRow.user_id)),
        *which,
    )
    answers = list(dict.fromkeys(session.scalars(rows.order_by(ReplyRow.id.desc()).limit(newest))))
    return [answers[place] for place in np.argsort(-taste.score(answers), kind="stable")]


@dataclass(frozen=True)
class Change:
    """A measure of which the answers have clearly more, or clearly less."""

    measure: str
    is_more: bool
    answers: int
    """Number of answers that changed in this direction."""

    @property
    def words(self) -> str:
        measure = measure_named(self.measure)
        return measure.more if self.is_more else measure.less


def find_changes(answers: Sequence[str], others: Sequence[str]) -> tuple[Change, ...]:
    """Return the clearest changes, one of each group of measures; `others` are answers to the same messages."""
    if len(answers) != len(others):
        return ()  # a broken version answers nothing
    found: dict[Group, tuple[float, Change]] = {}
    for measure, differences in zip(MEASURES, (style_of(answers) - style_of(others)).T, strict=True):
        more, less = int((differences > 0).sum()), int((differences < 0).sum())
        clearness = abs(more - less) / sqrt(max(1, more + less))
        if measure.group is not Group.BAND and clearness > max(CLEAR, found.get(measure.group, (0.0, None))[0]):
            found[measure.group] = clearness, Change(measure.name, more > less, max(more, less))
    clearest = sorted(found.values(), key=lambda one: -one[0])
    return tuple(change for _, change in clearest[:MOST_SHOWN])
