"""The context in which a version is judged: members' messages, answers that members liked, the card's examples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import nan
from statistics import fmean

from storage.conversations.degenerate import repeats_answer, repeats_pieces
from storage.database.enums import TrainingSource
from storage.taste.examples import NO_EXAMPLES, Examples
from storage.taste.liked import LikedStyle, liked_replies, read_liked_style
from storage.taste.updating import learn_all, served_examples
from storage.training.samples import newest_exchanges, newest_prompts
from trainer.evaluation.measures import Exchange
from trainer.evaluation.model_measurements import ServedMessage
from trainer.evaluation.results import Overshoot
from trainer.round_context import RoundContext

MEMBERS_MESSAGES = 24
"""Maximum number of messages of members that the gate lets both models answer."""
MODEL_ANSWERS = 48
"""Maximum number of liked answers, or card examples, that the version's answers are compared with."""


@dataclass(frozen=True)
class ServedContext:
    messages: tuple[ServedMessage, ...] = ()
    """The newest messages of members whose training basis is open."""
    liked: LikedStyle | None = None
    model_answers: tuple[Exchange, ...] = ()
    """The newest liked answers, or the card's examples, with their messages."""
    of_card: tuple[Exchange, ...] = ()
    liked_answers: tuple[Exchange, ...] = ()
    """The newest answers that members liked."""
    examples: Examples = NO_EXAMPLES
    """The examples that the base is shown where it answers members."""

    @classmethod
    def read(cls, round_: RoundContext, learns_from: TrainingSource) -> ServedContext:
        personality_id, settings = round_.personality_id, round_.settings
        with round_.database.snapshot() as session:
            asked = newest_prompts(session, round_.scope, MEMBERS_MESSAGES, render=round_.base.render)
            # The card's owner wrote its examples: they need not resemble the liked answers so far.
            is_voted = learns_from is TrainingSource.VOTES
            known = learn_all(session, personality_id, settings)
            opinions = known.taste.opinions
            liked = read_liked_style(session, opinions) if is_voted else None
            liked_answers = newest_exchanges(session, round_.scope, liked_replies(opinions), limit=MODEL_ANSWERS)
        personality = round_.personality
        examples, of_card = served_examples(settings, personality, known), personality.card.exchanges
        messages = (ServedMessage(one.prompt, one.messages[-1]["content"] if one.messages else "") for one in asked)
        answers = liked_answers if is_voted else of_card[:MODEL_ANSWERS]
        return cls(tuple(messages), liked, tuple(answers), tuple(of_card), tuple(liked_answers), examples)

    def overshoot(self, answers: Sequence[str], base: Sequence[str]) -> Overshoot | None:
        """Compare the answers' style with that of liked ones; `base` holds the base's answers to the same messages."""
        return Overshoot.measure(answers, base, self.liked) if self.liked and answers else None

    def repeated_share(self, messages: Sequence[str], answers: Sequence[str]) -> float:
        """Return the share of these answers that repeat examples; there may be more messages than answers.

        Parts of the card's examples count too. Parts of liked answers do not: these are the base's own and share
        phrases.
        """
        repeated = [
            repeats_pieces(message, answer, self.of_card) or repeats_answer(message, answer, self.liked_answers)
            for message, answer in zip(messages, answers, strict=False)
        ]
        return fmean(repeated) if repeated else nan
