"""Fits a conversation to the context window and renders it with the model's chat template."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bot.chat.prompting import ChatMessage, fit_to_window
from bot.engine import RenderedPrompt
from bot.errors import EngineStopped
from storage.models.base_model import end_ids, window_of
from storage.models.hardware import MODEL_LIBRARIES, broken_library
from storage.settings.sections import ModelSettings

log = logging.getLogger(__name__)

PROBE: Sequence[ChatMessage] = (
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Hi."},
    {"role": "assistant", "content": "Hello."},
    {"role": "user", "content": "Bye."},
)


def load_renderer(
    base_path: Path, settings: ModelSettings, answer_tokens: int, tokenizer_class: str = "AutoTokenizer"
) -> tuple[Renderer, dict[int, str]]:
    """Return the base's renderer, and the tokens that end an answer, {id: text}.

    Prompts leave room for answers of `answer_tokens`. Raises EngineStopped.
    """
    window = _open_window(base_path, settings, answer_tokens)
    try:
        with MODEL_LIBRARIES:
            import transformers

            tokenizer = getattr(transformers, tokenizer_class).from_pretrained(base_path, local_files_only=True)
        ends = {id_: str(tokenizer.convert_ids_to_tokens(id_)) for id_ in end_ids(base_path, tokenizer)}
        return Renderer(tokenizer, window - answer_tokens), ends
    except Exception as error:
        why = broken_library(error) or f"the tokenizer in {base_path} cannot be used: {error}"
        raise EngineStopped(why) from error


def _open_window(base_path: Path, settings: ModelSettings, answer_tokens: int) -> int:
    """Return the context window in tokens; logs a warning if it is smaller than the setting.

    Raises EngineStopped if answers of `answer_tokens` leave no room for a prompt.
    """
    window = window_of(base_path, settings)
    if window <= answer_tokens:
        raise EngineStopped(
            f"the base model in {base_path} cannot be used: its context window of {window} tokens leaves no room for a "
            f"prompt with generation.max_new_tokens = {answer_tokens}"
        )
    if window < settings.context_tokens:
        log.warning(
            "The base model supports only %d tokens, not model.context_tokens = %d: conversations are cut to that.",
            window,
            settings.context_tokens,
        )
    return window


class Renderer:
    """Renders prompts; any thread may use it. Without its lock, a shared tokenizer raises "Already borrowed"."""

    def __init__(self, tokenizer: Any, budget: int) -> None:
        """`budget` is the maximum tokens of a prompt; raises what a missing or too strict chat template raises."""
        self._tokenizer = tokenizer
        self._budget = budget
        self._specials = _specials_of(tokenizer)
        self._lock = threading.Lock()
        self._count_tokens(PROBE)

    def render(self, messages: Sequence[ChatMessage]) -> RenderedPrompt:
        """Return the prompt; raises ValueError if not even part of the newest message fits."""
        with self._lock:
            fitted = fit_to_window([self._harmless(message) for message in messages], self._count_tokens, self._budget)
            text, tokens = self._template(fitted.messages), self._count_tokens(fitted.messages)
        return RenderedPrompt(text, fitted.messages, tokens, fitted.dropped, fitted.shortened)

    def ids(self, text: str) -> list[int]:
        """Return the token IDs of a rendered prompt or an answer."""
        with self._lock:
            return self._ids(text)

    def _harmless(self, message: ChatMessage) -> ChatMessage:
        """Return the message with a space in each of this tokenizer's special tokens, so that it cannot start a turn.

        `sanitize` breaks the special tokens of well-known models when text arrives; this handles all others.
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
    """Return a pattern for the first character of each special token, also if tokens overlap: `~a~a~`."""
    added = {str(token) for token in tokenizer.added_tokens_decoder.values() if token.special}
    found = sorted(token for token in {*added, *tokenizer.all_special_tokens} if len(token) > 1)
    return re.compile(f"(?={'|'.join(map(re.escape, found))})(.)", re.DOTALL) if found else None
