"""Renders a prompt with what the server's documents say, as far as it fits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bot.chat.prompting import ChatMessage
from bot.engine import Engine, RenderedPrompt
from bot.knowledge.quoting import add_quotes, quote_block
from storage.conversations.replies import Retrieved
from storage.knowledge.search import Passage

NOTHING: ChatMessage = {"role": "user", "content": "."}


@dataclass(frozen=True)
class PromptWithQuotes:
    """A prompt, and the passages that it quotes."""

    prompt: RenderedPrompt
    quotes: tuple[Passage, ...]

    @property
    def retrieved(self) -> tuple[Retrieved, ...]:
        return tuple(Retrieved(quote.chunk_id, quote.document_id) for quote in self.quotes)


async def render_with_quotes(
    engine: Engine, messages: Sequence[ChatMessage], quotes: Sequence[Passage], budget_tokens: int
) -> PromptWithQuotes:
    """Render the messages with as many of the quotes, best first, as the budget and the window hold.

    Old messages make room for quotes, since a question about a fact needs the fact; the question itself never does.
    Raises ValueError where the messages do not fit without any quote either.
    """
    for kept in range(await _affordable(engine, quotes, budget_tokens), 0, -1):
        chosen = tuple(quotes[:kept])
        try:
            prompt = await engine.render(add_quotes(messages, chosen))
        except ValueError:
            continue
        if not prompt.shortened:
            return PromptWithQuotes(prompt, chosen)
    return PromptWithQuotes(await engine.render(messages), ())


async def _affordable(engine: Engine, quotes: Sequence[Passage], budget_tokens: int) -> int:
    """Return how many of the quotes the budget holds, by the tokens of the model that answers."""
    if not quotes:
        return 0
    frame = (await engine.render([NOTHING])).tokens
    for kept in range(len(quotes), 0, -1):
        try:
            block = await engine.render([{"role": "user", "content": quote_block(quotes[:kept])}])
        except ValueError:
            continue
        if not block.shortened and block.tokens - frame <= budget_tokens:
            return kept
    return 0
