"""Renders a prompt with the examples that the base is shown, as many as there is room for."""

from __future__ import annotations

import contextlib
from typing import cast

from bot.chat.prompting import ChatMessage
from bot.engine import Engine, RenderedPrompt
from storage.taste.examples import Examples


async def render_with_examples(engine: Engine, prompt: RenderedPrompt, examples: Examples) -> RenderedPrompt | None:
    """Return the prompt with the examples as earlier turns, and with the order.

    The conversation needs the room more: None if none of them fit, or if there are none.
    """
    if prompt.dropped or prompt.shortened:
        return None
    for messages, most in examples.shown_with(prompt.messages):
        with contextlib.suppress(ValueError):
            longer = await engine.render(cast(list[ChatMessage], messages))
            is_within_budget = most is None or longer.tokens - prompt.tokens <= most
            if is_within_budget and not (longer.dropped or longer.shortened):
                return longer
    return None
