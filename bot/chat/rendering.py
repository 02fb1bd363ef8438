"""Renders the prompt of a question: with memory and quotes where there is room, and for the base with examples."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import cast

from bot.chat.ask import Prompts
from bot.chat.conversation import Conversation
from bot.chat.prompting import ChatMessage, to_messages, with_memory
from bot.engine import Engine, RenderedPrompt
from bot.errors import UserFacingError
from bot.knowledge.decision import Line
from bot.knowledge.quoting import PromptWithQuotes, render_with_quotes
from bot.services import Services
from storage.personalities.cards import settings_of
from storage.personalities.personalities import Personality
from storage.taste.examples import Examples
from storage.wording import gettext_noop

TOO_LONG = gettext_noop("That message is too long for me, even shortened.")


async def render_question(
    services: Services,
    personality: Personality,
    conversation: Conversation,
    *,
    author: str,
    notes: Sequence[str],
    lines: Sequence[Line],
) -> PromptWithQuotes:
    """Render the conversation; the memory is left out if there is no room for it.

    `notes` are the author's about themselves. Raises UserFacingError if the newest message is too long.
    """
    own = settings_of(services.settings, personality.card).chat.system_prompt
    budget = services.settings.knowledge.budget_tokens
    remembering = with_memory(own, conversation.summary, author, notes)
    for system_prompt in dict.fromkeys((remembering, own)):
        with contextlib.suppress(ValueError):
            messages = to_messages(system_prompt, conversation.turns)
            return await render_with_quotes(services.engine, messages, lines, budget)
    raise UserFacingError(TOO_LONG)


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


async def add_examples(services: Services, personality: Personality, prompt: RenderedPrompt) -> Prompts:
    """Return the prompt, and if there is room also with the personality's examples as earlier turns, and its order."""
    examples = services.tastes.examples_of(personality)
    return Prompts(prompt, await render_with_examples(services.engine, prompt, examples))
