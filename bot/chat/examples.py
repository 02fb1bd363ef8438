"""What the base is shown as earlier turns until a version has learned it: its card's examples, and liked answers."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

from bot.chat.prompting import ChatMessage, exchanged_turns, with_earlier
from bot.engine import Engine, RenderedPrompt
from bot.knowledge.quoting import EMPTY
from storage.conversations.example_turns import ShownAs
from storage.personalities.cards import Card, Example
from storage.settings.sections import Settings
from storage.taste.examples import ExampleTurn

WINDOW_SHARE = 0.25
"""Most of the context that a card's examples take."""
MOST_CHARS_PER_TOKEN = 16
"""A longer dialogue is not even counted: a card may hold 500 kB of them."""
MOST_KNOWN = 64
"""Cards whose choice is remembered."""

Dialogue = tuple[ExampleTurn, ...]


@dataclass(frozen=True)
class Examples:
    of_card: tuple[Dialogue, ...] = ()
    liked: tuple[ExampleTurn, ...] = ()
    """Own answers like those that people like."""

    def turns(self, dialogues: int) -> list[ChatMessage]:
        """Return them as chat messages, with only so many dialogues of the card."""
        of_card = exchanged_turns([*chain(*self.of_card[:dialogues])])
        liked = exchanged_turns(self.liked)
        return [*_marked(of_card, ShownAs.CARD), *_marked(liked, ShownAs.LIKED)]


NO_EXAMPLES = Examples()


def _marked(turns: Sequence[ChatMessage], shown_as: ShownAs) -> list[ChatMessage]:
    return [{**turn, "shown_as": shown_as.value} for turn in turns]


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
                if not (longer.dropped or longer.shortened):
                    return longer
    return None


def _fewer_and_fewer(number: int) -> Iterator[int]:
    while number:
        yield number
        number //= 2
    yield 0


class CardExamples:
    """Chooses them once for each card: a beginning of the prompt that stays the same is computed once, too."""

    def __init__(self, engine: Engine, settings: Settings) -> None:
        self._engine = engine
        self._most = settings.generation.card_examples
        self._budget_tokens = int(WINDOW_SHARE * settings.model.context_tokens)
        self._known: dict[tuple[Example, ...], tuple[Dialogue, ...]] = {}

    async def of(self, card: Card) -> tuple[Dialogue, ...]:
        """Return the card's first dialogues that fit into the budget, whole and in its order."""
        if not self._most or not card.examples:
            return ()
        if card.examples not in self._known:
            chosen = await self._choose(card.examples)
            if len(self._known) >= MOST_KNOWN:
                self._known.clear()
            self._known[card.examples] = chosen
        return self._known[card.examples]

    async def _choose(self, examples: Sequence[Example]) -> tuple[Dialogue, ...]:
        chosen: list[Dialogue] = []
        left = self._budget_tokens
        for example in examples:
            if len(chosen) == self._most:
                break
            dialogue = _dialogue(example)
            tokens = await self._count(dialogue)
            if tokens is not None and tokens <= left:
                chosen.append(dialogue)
                left -= tokens
        return tuple(chosen)

    async def _count(self, dialogue: Dialogue) -> int | None:
        """Return how many tokens the dialogue adds to a prompt; None if it is too long to be shown."""
        chars = sum(len(turn.message) + len(turn.answer) for turn in dialogue)
        if chars > MOST_CHARS_PER_TOKEN * self._budget_tokens:
            return None
        with contextlib.suppress(ValueError):
            longer = await self._engine.render([*exchanged_turns(dialogue), EMPTY])
            if not (longer.dropped or longer.shortened):
                return longer.tokens - (await self._engine.render([EMPTY])).tokens
        return None


def _dialogue(example: Example) -> Dialogue:
    said = example.dialogue
    return tuple(ExampleTurn(message, answer) for message, answer in zip(said[::2], said[1::2], strict=True))
