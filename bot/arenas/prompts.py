"""Chooses and renders the prompts of arenas: an admin's own, or the next one of the bank."""

from __future__ import annotations

import asyncio
import logging
import random

from bot.chat.ask import Prompts
from bot.chat.prompting import ChatMessage
from bot.chat.rendering import add_examples
from bot.errors import UserFacingError
from bot.localization.sentences import gettext, sentence
from bot.services import Services
from storage.conversations.control_tokens import sanitize
from storage.conversations.prompt_bank import order_by_use, read_bank
from storage.errors import SettingsError
from storage.personalities.cards import settings_of
from storage.personalities.personalities import Personality
from storage.votes.arenas import last_used

log = logging.getLogger(__name__)


def bank_messages(system_prompt: str, prompt: str) -> list[ChatMessage]:
    """Return the chat messages of a prompt that no member wrote: like chat's own, but without a member's name."""
    question: ChatMessage = {"role": "user", "content": sanitize(prompt)}
    system: ChatMessage = {"role": "system", "content": system_prompt}
    return [system, question] if system_prompt.strip() else [question]


async def choose_arena_prompt(services: Services, typed: str | None, personality: Personality) -> tuple[str, Prompts]:
    """Return the typed prompt, or else the bank's next one that fits; raises UserFacingError or SettingsError."""
    if typed is None:
        return await _next_prompt(services, personality)
    prompt = sanitize(typed).strip()
    if not prompt:
        raise UserFacingError("That prompt is empty.")
    rendered = await render_bank_prompt(services, prompt, personality)
    if rendered is None:
        raise UserFacingError("That prompt is too long for the model's context. Please shorten it.")
    return prompt, rendered


async def describe_bank(services: Services, personality: Personality) -> str:
    """Return a line for admins about the bank, or about its error."""
    try:
        bank = await asyncio.to_thread(read_bank, services.settings.arena.prompts)
    except SettingsError as error:
        return f"⚠️ {sentence(str(error))}"
    used = await services.database.read(last_used, personality.id)
    unused = sum(prompt.text not in used for prompt in bank.prompts)
    return gettext("**Prompt bank:** {prompts}; {unused} not used yet", prompts=bank.describe(), unused=unused)


async def _next_prompt(services: Services, personality: Personality) -> tuple[str, Prompts]:
    bank = await asyncio.to_thread(read_bank, services.settings.arena.prompts)
    used = await services.database.read(last_used, personality.id)
    lines = {prompt.text: prompt.line for prompt in bank.prompts}
    for prompt in order_by_use(lines, used, random.Random()):
        rendered = await render_bank_prompt(services, prompt, personality)
        if rendered is not None:
            return prompt, rendered
        log.warning("Skipped line %d of %s: it is too long for the context.", lines[prompt], bank.source)
    raise UserFacingError(
        "Every prompt in the bank is too long for the model's context: shorten them, or raise model.context_tokens."
    )


async def render_bank_prompt(services: Services, prompt: str, personality: Personality) -> Prompts | None:
    """Render the prompt as chat renders a message; None if not all of it fits."""
    system_prompt = settings_of(services.settings, personality.card).chat.system_prompt
    try:
        rendered = await services.engine.render(bank_messages(system_prompt, prompt))
    except ValueError:
        return None
    return None if rendered.shortened else await add_examples(services, personality, rendered)
