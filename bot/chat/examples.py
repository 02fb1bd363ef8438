"""What the base is shown as earlier turns until a version has learned it: its card's examples, and liked answers."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import cast

from bot.chat.prompting import ChatMessage
from bot.engine import Engine, RenderedPrompt
from storage.conversations.example_turns import ShownAs, fewer_and_fewer, turns_of, with_earlier
from storage.personalities.cards import Card, Example
from storage.personalities.shown_examples import examples_budget, examples_to_show
from storage.settings.sections import Settings
from storage.taste.examples import ExampleTurn


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

    def turns(self, dialogues: int) -> list[ChatMessage]:
        """Return them as chat messages, with only so many dialogues of the card."""
        of_card = turns_of([example.dialogue for example in self.of_card[:dialogues]], ShownAs.CARD)
        liked = turns_of([(one.message, one.answer) for one in self.liked], ShownAs.LIKED)
        return cast(list[ChatMessage], of_card + liked)


NO_EXAMPLES = Examples()


async def render_with_examples(engine: Engine, prompt: RenderedPrompt, examples: Examples) -> RenderedPrompt | None:
    """Return the prompt with the examples as earlier turns, of the card as many as there is room for.

    The conversation needs the room more: None if none of them fit, or if there are none.
    """
    if prompt.dropped or prompt.shortened:
        return None
    for dialogues in fewer_and_fewer(len(examples.of_card)):
        if turns := examples.turns(dialogues):
            with contextlib.suppress(ValueError):
                longer = await engine.render(with_earlier(prompt.messages, turns))
                is_within_budget = not dialogues or longer.tokens - prompt.tokens <= examples.budget_tokens
                if is_within_budget and not (longer.dropped or longer.shortened):
                    return longer
    return None
