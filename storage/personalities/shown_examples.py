"""Which examples of a card the base is shown as earlier turns, until a version has learned them."""

from __future__ import annotations

from storage.personalities.cards import Card, Example
from storage.settings.sections import ModelSettings, Settings

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
