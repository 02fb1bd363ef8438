"""Fits a conversation to the context window and renders it by the model's chat template."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bot.chat.prompting import ChatMessage, fit_to_window
from bot.engine.protocol import RenderedPrompt
from storage.models.base_model import window_of
from storage.settings.sections import ModelSettings

log = logging.getLogger(__name__)

PROBE: Sequence[ChatMessage] = (
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Hi."},
    {"role": "assistant", "content": "Hello."},
    {"role": "user", "content": "Bye."},
)


def open_window(base_path: Path, settings: ModelSettings, answer_tokens: int) -> int:
    """Return the tokens that prompt and answer share; says so where they are fewer than the setting.

    Raises ValueError where answers of `answer_tokens` leave no room for a prompt.
    """
    window = window_of(base_path, settings)
    if window <= answer_tokens:
        raise ValueError(f"it knows {window} positions, which generation.max_new_tokens = {answer_tokens} uses up")
    if window < settings.context_tokens:
        log.warning(
            "The base model knows %d positions, fewer than model.context_tokens = %d: conversations are cut to them.",
            window,
            settings.context_tokens,
        )
    return window


class Renderer:
    """Any thread may use it; one that two threads share would raise "Already borrowed" without its lock."""

    def __init__(self, tokenizer: Any, budget: int) -> None:
        """`budget` is the most tokens of a prompt; raises what a missing or too strict chat template raises."""
        self._tokenizer = tokenizer
        self._budget = budget
        self._specials = _specials_of(tokenizer)
        self._lock = threading.Lock()
        self._count_tokens(PROBE)

    def render(self, messages: Sequence[ChatMessage]) -> RenderedPrompt:
        """Return the prompt; raises ValueError where the newest message does not fit even in part."""
        with self._lock:
            fitted = fit_to_window([self._harmless(message) for message in messages], self._count_tokens, self._budget)
            text, tokens = self._template(fitted.messages), self._count_tokens(fitted.messages)
        return RenderedPrompt(text, fitted.messages, tokens, fitted.dropped, fitted.shortened)

    def ids(self, text: str) -> list[int]:
        """Return the tokens of a rendered prompt, or of an answer."""
        with self._lock:
            return self._ids(text)

    def _harmless(self, message: ChatMessage) -> ChatMessage:
        """Return the message with a space inside each of this tokenizer's special tokens, so that it opens no turn.

        `sanitize` breaks those of well-known models where words come in; this is for all the others.
        """
        if self._specials is None:
            return message
        content = self._specials.sub(r"\1 ", message["content"])
        return {"role": message["role"], "content": content}

    def _template(self, messages: Sequence[ChatMessage]) -> str:
        text: str = self._tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=True)
        return text

    def _count_tokens(self, messages: Sequence[ChatMessage]) -> int:
        return len(self._ids(self._template(messages)))

    def _ids(self, text: str) -> list[int]:
        ids: list[int] = self._tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids


def _specials_of(tokenizer: Any) -> re.Pattern[str] | None:
    """Return what finds the first characters of special tokens, also where tokens share one: `~a~a~`."""
    added = {str(token) for token in tokenizer.added_tokens_decoder.values() if token.special}
    found = sorted(token for token in {*added, *tokenizer.all_special_tokens} if len(token) > 1)
    return re.compile(f"(?={'|'.join(map(re.escape, found))})(.)", re.DOTALL) if found else None
