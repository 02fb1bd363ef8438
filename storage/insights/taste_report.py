"""The taste in a personality's answers, its certainty, and its effect on the answers of today."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import datetime
from math import exp

import numpy as np
from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import Session

from storage.database.enums import CHAMPION
from storage.database.tables import AliasMoveRow, ReplyRow
from storage.personalities.personalities import read_personality
from storage.releases.versions import Version, name_of, read_alias
from storage.settings.sections import Settings
from storage.statistics import Z_95
from storage.taste.examples import choose_examples, examples_to_show
from storage.taste.learning import LearnedTaste, learn_taste
from storage.taste.liked import like_balances
from storage.taste.likings import Effect, Sureness, examples_of, likings, open_questions
from storage.taste.orders import order_in_use
from storage.votes.votes import FeedbackCounts
from storage.wording import gettext_noop, not_learned_yet

EXAMPLES = 2
SEARCHED = 1_000
"""Number of the newest liked, and newest disliked, answers among which the examples are searched."""


@dataclass(frozen=True)
class AnsweringNow:
    champion: Version | None
    chooses: bool
    """True if the bot begins several answers and finishes the one that members would like best."""
    is_switched_off: bool
    """True if an admin has switched off the effect of members' taste."""
    since: datetime | None = None
    """The time from which the version, or the base again, answers; None if the base has always answered."""
    liked: tuple[str, ...] = ()
    """The base's own liked answers that it is shown as earlier turns; a version sees none."""
    order: str = ""
    """The order that the base is given besides; empty if there is none. A version gets none."""
    follows_card: bool = False
    """True if the base is shown examples of the personality's card; a version sees none."""

    @property
    def taste_acts(self) -> bool:
        """True if members' taste acts without a version, or besides it."""
        return self.chooses or bool(self.liked) or bool(self.order)

    @property
    def about_base(self) -> str:
        """Return the words beside the base's name; empty if a version answers."""
        if self.champion is not None:
            return ""
        if self.is_switched_off:
            return gettext_noop("set not to follow what members like")
        if self.taste_acts:
            return gettext_noop("has no version yet, but follows what members like")
        return not_learned_yet(follows_card=self.follows_card)

    @property
    def in_short(self) -> str:
        """Return the answering model, such as "v3" or "base (has not learned yet)"."""
        name = name_of(self.champion)
        return f"{name} ({self.about_base})" if self.about_base else name


def read_answering_now(session: Session, personality_id: int, settings: Settings) -> AnsweringNow:
    return answering_with(session, personality_id, settings, learn_taste(session, personality_id, settings))


def answering_with(session: Session, personality_id: int, settings: Settings, taste: LearnedTaste) -> AnsweringNow:
    """Return the influences, given the taste already learned."""
    champion = read_alias(session, personality_id).version
    moves = select(func.max(AliasMoveRow.moved_at)).where(
        AliasMoveRow.personality_id == personality_id, AliasMoveRow.alias == CHAMPION
    )
    chooses = taste.may_choose and settings.generation.candidates > 1
    now = AnsweringNow(champion, chooses, is_switched_off=not taste.is_on, since=session.scalar(moves))
    if champion is not None:
        return now
    follows_card = bool(examples_to_show(settings, read_personality(session, personality_id).card))
    if not taste.may_teach:
        return replace(now, follows_card=follows_card)
    chosen = choose_examples(session, personality_id, taste, settings.generation.examples)
    order = order_in_use(session, personality_id, taste, settings.generation)
    return replace(now, liked=tuple(turn.answer for turn in chosen), order=order, follows_card=follows_card)


@dataclass(frozen=True)
class ShownEffect:
    """Effect of one standard deviation more of a trait on the chance of a 👍, compared with an average answer."""

    name: str
    words: str
    """The liked trait, such as "shorter answers"."""
    size: float
    """The effect in log odds; negative if members like less of the trait."""
    spread: float
    """Standard deviation of the effect."""
    sureness: Sureness
    share_before: float
    """Chance of a 👍 for an average answer; of being chosen, if people have only chosen so far."""
    share_after: float
    share_low: float
    """`share_low` to `share_high` is the 95 % interval of `share_after`."""
    share_high: float


@dataclass(frozen=True)
class TasteReport:
    """A personality's taste as its members' votes show it."""

    is_learning: bool
    """True if the operator lets reactions teach."""
    counts: FeedbackCounts
    learned: int
    """Number of votes and choices that the taste has learned from. The thumbs of a choice count as votes."""
    since: datetime | None
    """The time of the first vote that counts."""
    e_value: float
    """The e-value of the predictions: above 1, they were better than the share of 👍."""
    chooses: bool
    """True if the bot begins several answers, among which a taste can choose."""
    now: AnsweringNow
    """The taste's present effects: whether it chooses among begun answers, and the base's examples and order."""
    teaches: bool
    """True if examples and rounds follow the taste."""
    ranks: bool
    """True if rounds follow the taste."""
    effects: tuple[ShownEffect, ...]
    """The effects of traits, the surest first."""
    liked: tuple[str, ...]
    """Liked answers of the bot that fit the taste best."""
    disliked: tuple[str, ...]
    open_questions: tuple[str, ...]
    """The traits that the votes reveal least about."""

    @property
    def is_empty(self) -> bool:
        return self.counts.total == 0


def read_taste_report(
    session: Session, personality_id: int, settings: Settings, *may_be_seen: ColumnElement[bool]
) -> TasteReport:
    """Return the taste's report; its examples are only answers that `may_be_seen` selects."""
    taste = learn_taste(session, personality_id, settings)
    opinions, told = taste.opinions, likings(taste)
    liked, disliked = _read_examples(session, taste, personality_id, *may_be_seen)
    return TasteReport(
        is_learning=settings.privacy.learn_from_reactions,
        counts=taste.counts,
        learned=len(taste.data),
        since=min((said.given_at for said in (*opinions.opinions[:1], *opinions.choices[:1])), default=None),
        e_value=taste.e_value,
        chooses=settings.generation.candidates > 1,
        now=answering_with(session, personality_id, settings, taste),
        teaches=taste.may_teach,
        ranks=taste.may_rank,
        effects=shown_effects(taste, told),
        liked=liked,
        disliked=disliked,
        open_questions=tuple(measure.more for measure in open_questions(taste, told)) if len(taste.data) else (),
    )


def shown_effects(taste: LearnedTaste, told: Collection[Effect]) -> tuple[ShownEffect, ...]:
    """Return each effect's change of the chance of a 👍, for a person of average leniency."""
    if taste.counts.votes:
        average = np.vstack([taste.data.thumbs.x, taste.data.choices.x]).mean(axis=0)
        odds = taste.posterior.likes + float(average @ taste.posterior.mean)
    else:
        odds = 0.0  # choices do not show how often people give a 👍
    return tuple(_shown(effect, odds) for effect in told)


def _shown(effect: Effect, odds: float) -> ShownEffect:
    assert effect.sureness is not None
    gain, reach = abs(effect.size), Z_95 * effect.spread
    return ShownEffect(
        name=effect.measure.name,
        words=effect.words,
        size=effect.size,
        spread=effect.spread,
        sureness=effect.sureness,
        share_before=_share(odds),
        share_after=_share(odds + gain),
        share_low=_share(odds + gain - reach),
        share_high=_share(odds + gain + reach),
    )


def _share(odds: float) -> float:
    """Return the probability with these log odds."""
    return 1 / (1 + exp(-odds))


def _read_examples(
    session: Session,
    taste: LearnedTaste,
    personality_id: int,
    *may_be_seen: ColumnElement[bool],
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return (liked answers, disliked answers), those that fit the taste best first."""
    liking = like_balances(taste.opinions)

    def ranked(reply_ids: Collection[int]) -> list[str]:
        which = (ReplyRow.id.in_(sorted(reply_ids)[-SEARCHED:]), *may_be_seen)
        return examples_of(session, taste, personality_id, SEARCHED, *which)

    liked = ranked({reply_id for reply_id, net in liking.items() if net > 0})[:EXAMPLES]
    disliked = ranked({reply_id for reply_id, net in liking.items() if net < 0})[::-1]
    return tuple(liked), tuple(text for text in disliked if text not in liked)[:EXAMPLES]
