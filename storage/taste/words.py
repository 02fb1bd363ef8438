"""Says in words what a personality's people like, how sure that is, and which answers show it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from statistics import NormalDist

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session

from storage.database.tables import ReplyRow
from storage.taste.learning import UNJUDGED, LearnedTaste
from storage.taste.measures import MEASURES, Measure, everyday_correlation
from storage.taste.model import Floats, Posterior
from storage.wording import count

EVERYDAY_ANSWERS = 50
"""How many of its people's answers the everyday answers are worth, when it comes to how measures vary together."""
ALIKE = 0.6
"""Measures that vary together more than this say the same, so only the clearer one is told."""
MOST_EFFECTS = 6


class Sureness(StrEnum):
    SURE = "sure"
    FAIRLY = "fairly sure"
    GUESS = "a guess"


LEAST_SURE = {Sureness.SURE: 0.99, Sureness.FAIRLY: 0.95, Sureness.GUESS: 0.8}
"""Least probability that the effect has this direction."""


@dataclass(frozen=True)
class Effect:
    """How much better an answer is liked that has more of a measure, everything that comes with it included."""

    measure: Measure
    size: float
    """Change in the log odds of a 👍 for one standard deviation more."""
    spread: float
    """Standard deviation of the size."""

    @property
    def certainty(self) -> float:
        """Return the probability that its direction is right."""
        return NormalDist().cdf(abs(self.size) / self.spread)

    @property
    def sureness(self) -> Sureness | None:
        """Return how sure its direction is; None if there is nothing to tell."""
        return next((sureness for sureness, least in LEAST_SURE.items() if self.certainty >= least), None)

    @property
    def words(self) -> str:
        return self.measure.more if self.size > 0 else self.measure.less


def likings(taste: LearnedTaste, most: int = MOST_EFFECTS) -> list[Effect]:
    """Return the effects worth telling, the surest first, without those that say the same again.

    What never differed between the answers is not told: the votes say nothing about it.
    """
    x = np.vstack([taste.data.thumbs.x, taste.data.choices.x])
    together = _correlation(x)
    effects = _effects(taste.posterior, together)
    differing = np.flatnonzero((x != x[:1]).any(axis=0)).tolist()
    told: list[int] = []
    for place in sorted(differing, key=lambda place: -effects[place].certainty):
        if effects[place].sureness and all(abs(together[place, before]) < ALIKE for before in told):
            told.append(place)
    return [effects[place] for place in told[:most]]


def _effects(posterior: Posterior, together: Floats) -> list[Effect]:
    """Return the effect of every measure, in their order.

    A coefficient alone misleads where measures vary together: a measure's effect is its covariance with the utility
    (Haufe et al. 2014, "On the interpretation of weight vectors", eq. 6).
    """
    sizes = together @ posterior.mean
    spreads = np.sqrt((together @ posterior.covariance @ together).diagonal())
    return [Effect(*values) for values in zip(MEASURES, sizes.tolist(), spreads.tolist(), strict=True)]


def _correlation(x: Floats) -> Floats:
    """Return how the measures of these answers and of everyday answers vary together, (D, D)."""
    centred = x - x.mean(axis=0) if len(x) else x
    together = centred.T @ centred + EVERYDAY_ANSWERS * everyday_correlation()
    spread = np.sqrt(together.diagonal())
    found: Floats = together / np.outer(spread, spread)
    return found


def describe_taste(taste: LearnedTaste, told: Sequence[Effect]) -> str:
    """Return one or two sentences such as "Your people like: shorter answers (sure), no lists (a guess)."."""
    if len(taste.data) == 0:
        return "Nobody has voted yet, so I can't say what people like. Every 👍 and 👎 helps."
    votes = count_votes(taste)
    if not told:
        return f"After {votes}, I can't tell yet what people like. More 👍 and 👎 help, and 👎 says the most."
    liked = ", ".join(f"{effect.words} ({effect.sureness})" for effect in told)
    return f"After {votes}, people like: {liked}."


def describe_use(taste: LearnedTaste) -> str:
    """Return in one sentence whether the taste is used, and why."""
    votes = len(taste.data)
    if votes <= UNJUDGED:
        return f"It predicts votes from the {UNJUDGED + 1}st on; until then nobody knows how good it is."
    better = f"{taste.evidence:.2g}"
    if taste.may_act:
        return f"It predicted the later votes better than the share of likes does (e-value {better})."
    return f"It is not used now: it predicted the later votes worse than the share of likes does (e-value {better})."


def count_votes(taste: LearnedTaste) -> str:
    thumbs, choices = len(taste.data.thumbs.liked), len(taste.data.choices.starts)
    parts = [count(thumbs, "vote")] if thumbs or not choices else []
    parts += [count(choices, "choice")] if choices else []
    return (
        f"{' and '.join(parts)} by {count(taste.data.voters, 'member')}" if taste.data.voters else " and ".join(parts)
    )


@dataclass(frozen=True)
class ShownAnswer:
    """One of the bot's own answers, as an example of what is liked or not."""

    text: str
    utility: float


def examples_of(session: Session, taste: LearnedTaste, personality_id: int, newest: int = 300) -> list[ShownAnswer]:
    """Return the bot's newest answers, from the best liked to the least, as the taste sees them."""
    rows = select(ReplyRow.answer).where(ReplyRow.personality_id == personality_id, ReplyRow.answer != "")
    answers = list(dict.fromkeys(session.scalars(rows.order_by(ReplyRow.id.desc()).limit(newest))))
    utilities = taste.score(answers).tolist() if answers else []
    found = [ShownAnswer(answer, utility) for answer, utility in zip(answers, utilities, strict=True)]
    return sorted(found, key=lambda shown: -shown.utility)
