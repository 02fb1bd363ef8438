"""What the base is shown as earlier turns until a version has learned it: its card's examples, and liked answers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from storage.conversations.example_turns import ShownAs, fewer_and_fewer, turns_of
from storage.personalities.cards import Card, Example
from storage.settings.sections import ModelSettings, Settings
from storage.taste.examples import ExampleTurn
from storage.wording import BASE_NAME, not_learned_yet

WINDOW_SHARE = 0.25
"""Most of the context that they take."""
CHARS_PER_TOKEN = 4
"""Of usual text: of others, prompts leave out some more."""


def examples_budget(model: ModelSettings) -> int:
    """Return how many tokens the examples take at most."""
    return int(WINDOW_SHARE * model.context_tokens)


def examples_to_show(settings: Settings, card: Card) -> tuple[Example, ...]:
    """Return the first examples that fit, whole and in the card's order.

    The beginning of a prompt that stays the same is computed once.
    """
    chosen: list[Example] = []
    left = CHARS_PER_TOKEN * examples_budget(settings.model)
    for example in card.examples:
        chars = sum(map(len, example.dialogue))
        if len(chosen) < settings.generation.card_examples and chars <= left:
            chosen.append(example)
            left -= chars
    return tuple(chosen)


@dataclass(frozen=True)
class Examples:
    of_card: tuple[Example, ...] = ()
    liked: tuple[ExampleTurn, ...] = ()
    """Own answers like those that people like."""
    budget_tokens: int = 0
    """Most tokens of both if there are some of the card."""

    @classmethod
    def of(cls, settings: Settings, card: Card, liked: tuple[ExampleTurn, ...] = ()) -> Examples:
        return cls(examples_to_show(settings, card), liked, examples_budget(settings.model))

    def turns(self) -> Iterator[tuple[list[dict[str, str]], int | None]]:
        """Yield the turns to try until they fit, most first, with the most tokens that they may take; None is any.

        Dialogues of the card are left out first.
        """
        liked = turns_of([(one.message, one.answer) for one in self.liked], ShownAs.LIKED)
        for dialogues in fewer_and_fewer(len(self.of_card)):
            of_card = turns_of([example.dialogue for example in self.of_card[:dialogues]], ShownAs.CARD)
            if of_card or liked:
                yield of_card + liked, self.budget_tokens if dialogues else None


NO_EXAMPLES = Examples()


def what_answers(version: str, settings: Settings, card: Card) -> str:
    """Return the version's name; of the base, also that the personality with this card has not learned yet."""
    if version != BASE_NAME:
        return version
    return f"{version} ({not_learned_yet(follows_card=bool(examples_to_show(settings, card)))})"
