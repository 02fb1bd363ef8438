"""What shapes a personality's answers now: its version, its people's taste, and what the base is shown and told."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy.orm import Session

from storage.personalities.personalities import read_personality
from storage.personalities.shown_examples import examples_to_show
from storage.releases.versions import Version, read_alias
from storage.settings.sections import Settings
from storage.taste.evidence import TasteEvidence, read_taste_evidence
from storage.taste.examples import choose_examples
from storage.taste.learning import LearnedTaste, learn, read_taste_data
from storage.taste.orders import order_in_use


@dataclass(frozen=True)
class AnsweringNow:
    champion: Version | None
    chooses: bool
    """Several answers are begun, and the one that people would like best is finished."""
    liked: tuple[str, ...]
    """The base's own answers that it is shown as earlier turns, because people like such ones; a version sees none."""
    order: str
    """What the base is told beside them; empty if nothing. A version is told nothing."""
    follows_card: bool
    """The base is shown examples of the personality's card; a version sees none."""

    @property
    def has_learned(self) -> bool:
        """Whether votes changed something: a version answers, or what people like acts without one."""
        return self.champion is not None or self.chooses or bool(self.liked) or bool(self.order)


def read_answering_now(session: Session, personality_id: int, settings: Settings) -> AnsweringNow:
    evidence = read_taste_evidence(session, personality_id, settings)
    taste = learn(read_taste_data(session, evidence))
    return answering_with(session, personality_id, settings, evidence, taste)


def answering_with(
    session: Session, personality_id: int, settings: Settings, evidence: TasteEvidence, taste: LearnedTaste
) -> AnsweringNow:
    """Return the same, with what people like as it was learned from the evidence already."""
    champion = read_alias(session, personality_id).version
    liked, order, follows_card = (), "", False
    if champion is None:
        chosen = choose_examples(session, personality_id, evidence, taste, settings.generation.examples)
        liked = tuple(turn.answer for turn in chosen)
        order = order_in_use(session, personality_id, taste, settings)
        follows_card = bool(examples_to_show(settings, read_personality(session, personality_id).card))
    chooses = taste.may_choose and settings.generation.candidates > 1
    return AnsweringNow(champion, chooses, liked, order, follows_card)
