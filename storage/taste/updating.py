"""Keeps a taste up to date: new votes are added one by one, anything else is learned again from the rows."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from sqlalchemy.orm import Session

from storage.personalities.personalities import Personality
from storage.settings.sections import Settings
from storage.taste.examples import Examples, ExampleTurn, choose_examples
from storage.taste.learning import MANY, LearnedTaste, learn_more, learn_taste, read_measures
from storage.taste.likings import Effect, likings
from storage.taste.opinions import Opinion, TasteOpinions, read_thumbs_on
from storage.taste.orders import order_in_use

MOST_ANSWERS = 1_000
"""Maximum answers whose new votes are added one by one; with more, as after days offline, all is learned again."""
LONG_AGO = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True)
class KnownTaste:
    """A taste, with the examples and the order that it gives the base, even while an admin has switched it off."""

    taste: LearnedTaste
    liked: tuple[Effect, ...] = ()
    """Traits that members like."""
    examples: tuple[ExampleTurn, ...] = ()
    order: str = ""
    """The order with members' preferences, if it moves the base in use."""


def served_examples(settings: Settings, personality: Personality, known: KnownTaste | None) -> Examples:
    """Return what the base is shown where it answers members: what they like only once that is clear."""
    if known is None or not personality.follows_taste or not known.taste.may_teach:
        return Examples.of(settings, personality.card)
    return Examples.of(settings, personality.card, known.examples, known.order)


def learn_all(session: Session, personality_id: int, settings: Settings) -> KnownTaste:
    return known_by(session, personality_id, settings, learn_taste(session, personality_id, settings))


def known_by(session: Session, personality_id: int, settings: Settings, learned: LearnedTaste) -> KnownTaste:
    """Return the taste with the examples and the order that it gives now."""
    taste = replace(learned, is_on=True)
    examples = choose_examples(session, personality_id, taste, settings.generation.examples)
    order = order_in_use(session, personality_id, taste, settings.generation)
    return KnownTaste(taste, tuple(likings(taste)), examples, order)


def learn_votes_on(
    session: Session, personality_id: int, settings: Settings, known: KnownTaste, reply_ids: Collection[int]
) -> KnownTaste:
    """Learn the new votes on these answers; learn all again if a vote was changed, withdrawn or is not a thumb.

    Some things wait until everything is learned again: the weights of each voter's other votes, forgetting the oldest
    of very many votes, the examples, the order, and the liked traits after many votes.
    """
    news = _news(session, personality_id, settings, known, reply_ids)
    if news is None:
        return learn_all(session, personality_id, settings)
    before = known.taste.opinions
    weighed = [one._replace(weight=one.weight * before.factors.get(one.voter, 1.0)) for one in news]
    taste = learn_more(known.taste, weighed, read_measures(session, {one.reply_id for one in news}))
    liked = tuple(likings(taste)) if len(taste.data) < MANY else known.liked
    opinions = replace(before, opinions=(*before.opinions, *news))
    return replace(known, taste=replace(taste, opinions=opinions), liked=liked)


def _news(
    session: Session, personality_id: int, settings: Settings, known: KnownTaste, reply_ids: Collection[int]
) -> list[Opinion] | None:
    """Return the new votes on these answers, oldest first; None if they do not simply follow the others.

    They do not if a clock went back.
    """
    if not settings.privacy.learn_from_reactions or len(reply_ids) > MOST_ANSWERS:
        return None
    if (said := read_thumbs_on(session, personality_id, settings.votes, reply_ids)) is None:
        return None
    before = {(one.reply_id, one.voter): one for one in known.taste.opinions.opinions if one.reply_id in reply_ids}
    now = {(one.reply_id, one.voter): one for one in said}
    news = [one for key, one in now.items() if key not in before]
    is_changed = any(now.get(key) != one for key, one in before.items())
    is_late = any(one.given_at < _newest(known.taste.opinions) for one in news)
    return None if is_changed or is_late else news


def _newest(opinions: TasteOpinions) -> datetime:
    moments = [opinion.given_at for opinion in opinions.opinions[-1:]]
    moments += [choice.given_at for choice in opinions.choices[-1:]]
    return max(moments, default=LONG_AGO)
