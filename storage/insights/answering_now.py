"""The influences on a personality's answers now: its version, members' taste, and the base's examples and order."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from storage.database.enums import CHAMPION
from storage.database.tables import AliasMoveRow
from storage.personalities.personalities import read_personality
from storage.personalities.shown_examples import examples_to_show
from storage.releases.versions import Version, name_of, read_alias
from storage.settings.sections import Settings
from storage.taste.examples import choose_examples
from storage.taste.learning import LearnedTaste, learn_from
from storage.taste.opinions import TasteOpinions, read_taste_opinions
from storage.taste.orders import order_in_use
from storage.wording import gettext_noop, not_learned_yet


@dataclass(frozen=True)
class AnsweringNow:
    champion: Version | None
    chooses: bool
    """True if the bot begins several answers and finishes the one that members would like best."""
    liked: tuple[str, ...]
    """The base's own liked answers that it is shown as earlier turns; a version sees none."""
    order: str
    """The order that the base is given besides; empty if there is none. A version gets none."""
    follows_card: bool
    """True if the base is shown examples of the personality's card; a version sees none."""
    is_switched_off: bool
    """True if an admin has switched off the effect of members' taste."""
    since: datetime | None = None
    """The time from which the version, or the base again, answers; None if the base has always answered."""

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
            return gettext_noop("its taste is switched off")
        if self.taste_acts:
            return gettext_noop("has no version yet, but follows what people like")
        return not_learned_yet(follows_card=self.follows_card)

    @property
    def in_short(self) -> str:
        """Return the answering model, such as "v3" or "base (has not learned yet)"."""
        name = name_of(self.champion)
        return f"{name} ({self.about_base})" if self.about_base else name


def read_answering_now(session: Session, personality_id: int, settings: Settings) -> AnsweringNow:
    evidence = read_taste_opinions(session, personality_id, settings)
    taste = learn_from(session, personality_id, evidence)
    return answering_with(session, personality_id, settings, evidence, taste)


def answering_with(
    session: Session, personality_id: int, settings: Settings, evidence: TasteOpinions, taste: LearnedTaste
) -> AnsweringNow:
    """Return the influences, given the taste already learned from the evidence."""
    champion = read_alias(session, personality_id).version
    liked, order, follows_card = (), "", False
    if champion is None:
        chosen = choose_examples(session, personality_id, evidence, taste, settings.generation.examples)
        liked = tuple(turn.answer for turn in chosen)
        order = order_in_use(session, personality_id, taste, settings)
        follows_card = bool(examples_to_show(settings, read_personality(session, personality_id).card))
    chooses = taste.may_choose and settings.generation.candidates > 1
    moves = select(func.max(AliasMoveRow.moved_at)).where(
        AliasMoveRow.personality_id == personality_id, AliasMoveRow.alias == CHAMPION
    )
    return AnsweringNow(
        champion,
        chooses,
        liked,
        order,
        follows_card,
        is_switched_off=not taste.is_on,
        since=session.scalar(moves),
    )
