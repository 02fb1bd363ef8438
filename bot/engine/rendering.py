"""Fits a conversation to the context window and renders it with the model's chat template."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bot.chat.prompting import ChatMessage, fit_to_window
from bot.engine import RenderedPrompt
from bot.errors import EngineStopped
from storage.errors import BaseModelError
from storage.models.base_model import window_of
from storage.models.chat_format import ChatFormat, load_chat_format
from storage.settings.sections import GenerationSettings, ModelSettings, Settings

log = logging.getLogger(__name__)


def load_renderer(
    base_path: Path,
    settings: ModelSettings,
    generation: GenerationSettings,
    tokenizer_class: str = "AutoTokenizer",
) -> Renderer:
    """Return the base's renderer, whose prompts leave room for answers, and for thoughts if it thinks.

    Raises EngineStopped.
    """
    try:
        chat = load_chat_format(base_path, settings.template_options, tokenizer_class)
    except BaseModelError as error:
        raise EngineStopped(str(error)) from error
    if chat.unknown_options:
        log.warning("%s.", unknown_options(chat))
    return Renderer(chat, _open_window(base_path, settings), generation)


def unknown_options(chat: ChatFormat) -> str:
    """Return a sentence about the template options that have no effect."""
    names = ", ".join(chat.unknown_options)
    return f"the chat template does not know {names}: check the spelling in model.template_options, or remove it"


def _open_window(base_path: Path, settings: ModelSettings) -> int:
    """Return the context window in tokens; logs a warning if it is smaller than the setting."""
    window = window_of(base_path, settings)
    if window < settings.context_tokens:
        log.warning(
            "The base model supports only %d tokens, not model.context_tokens = %d: conversations are cut to that.",
            window,
            settings.context_tokens,
        )
    return window


class Renderer:
    """Renders prompts; any thread may use it. Without its lock, a shared tokenizer raises "Already borrowed"."""

    def __init__(self, chat: ChatFormat, window: int, generation: GenerationSettings) -> None:
        """`window` is the maximum tokens of prompt, thought and answer together.

        Raises EngineStopped if the settings leave no room for a prompt.
        """
        self.chat = chat
        """Rendering with it needs the lock."""
        self.room = chat.thought_room(generation.max_thought_tokens, window)
        self._budget = prompt_budget(chat, window, generation)
        self._specials = _specials_of(chat.tokenizer)
        self._lock = threading.Lock()

    def render(self, messages: Sequence[ChatMessage]) -> RenderedPrompt:
        """Return the prompt; raises ValueError if not even part of the newest message fits."""
        with self._lock:
            harmless: list[ChatMessage] = [{**one, "content": self.harmless(one["content"])} for one in messages]
            fitted = fit_to_window(harmless, self._count_tokens, self._budget)
            text, tokens = self.chat.render(fitted.messages), self._count_tokens(fitted.messages)
        return RenderedPrompt(text, fitted.messages, tokens, fitted.dropped, fitted.shortened)

    def served(self, prompt: str) -> str:
        """Return a rendered prompt as the model gets it now: with today's date, if its template writes one."""
        return self.chat.dated(prompt, datetime.now(UTC).astimezone())  # local time, as transformers writes it

    def ids(self, text: str) -> list[int]:
        """Return the token IDs of a rendered prompt or an answer."""
        with self._lock:
            return self.chat.token_ids(text)

    def harmless(self, content: str) -> str:
        """Return a message's text with a space in each of this tokenizer's special tokens: it cannot start a turn.

        `sanitize` breaks the special tokens of well-known models when text arrives; this handles all others.
        """
        return self._specials.sub(r"\1 ", content) if self._specials else content

    def _count_tokens(self, messages: Sequence[ChatMessage]) -> int:
        return len(self.chat.token_ids(self.chat.render(messages)))


def first_prompt(system_prompt: str) -> list[ChatMessage]:
    """Return the shortest conversation that a personality with this system prompt has."""
    system: list[ChatMessage] = [{"role": "system", "content": system_prompt}] if system_prompt.strip() else []
    return [*system, {"role": "user", "content": "Hi."}]


def no_room(settings: Settings, window: int) -> str:
    """Return a sentence about a system prompt that leaves no room for a message in a context of `window` tokens."""
    lower = f"lower generation.max_new_tokens = {settings.generation.max_new_tokens}"
    if window < settings.model.context_tokens:
        return (
            f"chat.system_prompt leaves no room for a message in the base's {window} tokens: choose a base with a "
            f"longer context, {lower}, or shorten chat.system_prompt"
        )
    return (
        f"chat.system_prompt leaves no room for a message: raise model.context_tokens = {settings.model.context_tokens}"
        f", {lower}, or shorten it"
    )


def require_first_prompt(chat: ChatFormat, window: int, settings: Settings) -> None:
    """Raise EngineStopped if the shortest conversation does not fit."""
    try:
        Renderer(chat, window, settings.generation).render(first_prompt(settings.chat.system_prompt))
    except ValueError as error:
        raise EngineStopped(no_room(settings, window)) from error


def prompt_budget(chat: ChatFormat, window: int, generation: GenerationSettings) -> int:
    """Return the maximum tokens of a prompt; raises EngineStopped if the settings leave no room for one."""
    thought_tokens = generation.max_thought_tokens if chat.thinks else 0
    budget = window - generation.max_new_tokens - thought_tokens
    if budget <= 0:
        thought = f" and generation.max_thought_tokens = {thought_tokens}" if thought_tokens else ""
        # Answers alone fit into model.context_tokens, or the settings would have been refused.
        is_short = generation.max_new_tokens >= window
        longer = "choose a base with a longer context" if is_short else "raise model.context_tokens if it supports more"
        raise EngineStopped(
            f"the base model in {chat.tokenizer.name_or_path} cannot be used: its context window of {window} tokens "
            f"leaves no room for a prompt with generation.max_new_tokens = {generation.max_new_tokens}{thought}: "
            f"{longer}, or lower {'them' if thought else 'generation.max_new_tokens'}"
        )
    return budget


def _specials_of(tokenizer: Any) -> re.Pattern[str] | None:
    """Return a pattern for the first character of each special token, also if tokens overlap: `~a~a~`."""
    added = {str(token) for token in tokenizer.added_tokens_decoder.values() if token.special}
    found = sorted(token for token in {*added, *tokenizer.all_special_tokens} if len(token) > 1)
    return re.compile(f"(?={'|'.join(map(re.escape, found))})(.)", re.DOTALL) if found else None
