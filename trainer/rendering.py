"""Renders chat messages as a version reads them: after the system prompt, by the base's template."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from storage.conversations.replies import digest_prompt
from storage.models.base_model import BaseModel
from storage.models.chat_format import load_chat_format
from storage.settings.sections import ModelSettings
from storage.training.feedback import Render
from storage.training.samples import AskedPrompt


def with_system_prompt(system_prompt: str, messages: Sequence[dict[str, str]]) -> list[dict[str, str]]:
    """Return the messages as they are served: after the system prompt, unless it is blank or they begin with one."""
    if not system_prompt.strip() or (messages and messages[0]["role"] == "system"):
        return list(messages)
    return [{"role": "system", "content": system_prompt}, *messages]


def ask_alone(message: str, system_prompt: str, render: Render) -> AskedPrompt:
    """Return one of our own messages as the prompt of a conversation that begins with it."""
    messages = with_system_prompt(system_prompt, [{"role": "user", "content": message}])
    prompt = render(messages)
    return AskedPrompt(prompt, digest_prompt(prompt), messages=tuple(messages))


def renderer_of(base: BaseModel, settings: ModelSettings) -> Render:
    """Return a function that renders chat messages for this base; it loads the template when first called."""
    chat = cache(lambda: load_chat_format(base.path, settings.template_options))
    return lambda messages: chat().render(messages)
