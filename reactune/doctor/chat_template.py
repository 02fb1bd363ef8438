"""The doctor's look at the base's chat template: what it found, and whether prompts fit."""

from __future__ import annotations

from bot.engine.rendering import require_first_prompt, unknown_options
from bot.errors import EngineStopped
from reactune.doctor.findings import Hint, Problem
from reactune.doctor.models import find_base
from storage.models.base_model import window_of
from storage.models.chat_format import ChatFormat, load_chat_format
from storage.settings.sections import Settings


def check_chat_template(settings: Settings) -> str:
    """Describe how the base writes conversations."""
    base = find_base(settings)
    chat = load_chat_format(base.path, settings.model.template_options)
    try:
        require_first_prompt(chat, window_of(base.path, settings.model), settings)
    except EngineStopped as error:
        raise Problem(str(error)) from error
    found = "; ".join((_describe_roles(chat), _describe_thinking(chat, settings)))
    if chat.unknown_options:
        raise Hint(f"{found}; {unknown_options(chat)}")
    if chat.opens_thought and not chat.knows_thinking:
        raise Hint(found)
    return found


def _describe_roles(chat: ChatFormat) -> str:
    refused = "begins the first message, because the template refuses it"
    system = refused if chat.folds_system else "has its own turn"
    return f"the system prompt {system}; answers end with {chat.ends[chat.end_of_turn]}"


def _describe_thinking(chat: ChatFormat, settings: Settings) -> str:
    if not chat.thinks:
        return "thinking is off" if chat.knows_thinking else "it does not ask the model to think"
    why = "" if chat.knows_thinking else ", which its template cannot switch off"
    most = settings.generation.max_thought_tokens
    return f"the model thinks before each answer{why}: up to generation.max_thought_tokens = {most} tokens, never shown"
