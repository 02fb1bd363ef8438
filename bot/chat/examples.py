"""What the base is shown as earlier turns until a version has learned it: its card's examples, and liked answers."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bot.chat.prompting import ChatMessage, exchanged_turns, with_earlier
from bot.engine import Engine, RenderedPrompt
from storage.conversations.example_turns import SHOWN_AS, ShownAs
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
        of_card = [turn for example in self.of_card[:dialogues] for turn in _turns(example)]
        return [
            *_marked(exchanged_turns(of_card), ShownAs.CARD),
            *_marked(exchanged_turns(self.liked), ShownAs.LIKED),
        ]


NO_EXAMPLES = Examples()


def _turns(example: Example) -> list[ExampleTurn]:
    said = example.dialogue
    return [ExampleTurn(message, answer) for message, answer in zip(said[::2], said[1::2], strict=True)]


def _marked(turns: Sequence[ChatMessage], shown_as: ShownAs) -> list[ChatMessage]:
    return [{**turn, SHOWN_AS: shown_as.value} for turn in turns]


async def render_with_examples(engine: Engine, prompt: RenderedPrompt, examples: Examples) -> RenderedPrompt | None:
    """Return the prompt with the examples as earlier turns, of the card as many as there is room for.

    The conversation needs the room more: None if none of them fit, or if there are none.
    """
    if prompt.dropped or prompt.shortened:
        return None
    for dialogues in _fewer_and_fewer(len(examples.of_card)):
        if turns := examples.turns(dialogues):
            with contextlib.suppress(ValueError):
                longer = await engine.render(with_earlier(prompt.messages, turns))
                is_within_budget = not dialogues or longer.tokens - prompt.tokens <= examples.budget_tokens
                if is_within_budget and not (longer.dropped or longer.shortened):
                    return longer
    return None


def _fewer_and_fewer(number: int) -> Iterator[int]:
    while number:
        yield number
        number //= 2
    yield 0
