"""Chooses the examples of a card that the base is shown as earlier turns until a version has learned them."""

from __future__ import annotations

from storage.personalities.cards import Card, Example
from storage.settings.sections import ModelSettings, Settings

WINDOW_SHARE = 0.25
"""Largest share of the context for the examples."""
CHARS_PER_TOKEN = 4
"""Characters per token in usual text; prompts with other text leave out some more examples."""


def examples_budget(model: ModelSettings) -> int:
    """Return the most tokens that the examples may take."""
    return int(WINDOW_SHARE * model.context_tokens)


def examples_to_show(settings: Settings, card: Card) -> tuple[Example, ...]:
    """Return the first examples that fit, whole and in the card's order.

    A prompt's unchanged beginning is computed only once.
    """
    chosen: list[Example] = []
    left = CHARS_PER_TOKEN * examples_budget(settings.model)
    for example in card.examples:
        chars = sum(map(len, example.dialogue))
        if len(chosen) < settings.generation.card_examples and chars <= left:
            chosen.append(example)
            left -= chars
    return tuple(chosen)
