"""Renders a prompt with the examples that the base is shown, as many as there is room for."""

from __future__ import annotations

import contextlib
from typing import cast

from bot.chat.prompting import ChatMessage
from bot.engine import Engine, RenderedPrompt
from storage.conversations.example_turns import with_earlier
from storage.taste.examples import Examples


async def render_with_examples(engine: Engine, prompt: RenderedPrompt, examples: Examples) -> RenderedPrompt | None:
    """Return the prompt with the examples as earlier turns.

    The conversation needs the room more: None if none of them fit, or if there are none.
    """
    if prompt.dropped or prompt.shortened:
        return None
    for turns, most in examples.turns():
        with contextlib.suppress(ValueError):
            longer = await engine.render(with_earlier(prompt.messages, cast(list[ChatMessage], turns)))
            is_within_budget = most is None or longer.tokens - prompt.tokens <= most
            if is_within_budget and not (longer.dropped or longer.shortened):
                return longer
    return None
