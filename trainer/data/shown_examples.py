"""Renders prompts as the bot asks the base before there is a version: with examples and an order."""

from __future__ import annotations

from functools import cached_property

from storage.conversations.replies import digest_prompt
from storage.models.base_model import BaseModel, window_of
from storage.models.chat_format import ChatFormat, load_chat_format
from storage.settings.sections import Settings
from storage.taste.examples import Examples
from storage.training.samples import AskedPrompt
from trainer.evaluation.sampling import expected_tokens


class ShownExamples:
    """Puts as many examples before a prompt as fit. The base's chat template is loaded at the first prompt."""

    def __init__(self, examples: Examples, settings: Settings, base: BaseModel) -> None:
        self._examples = examples
        self._settings = settings
        self._base = base

    @cached_property
    def _chat(self) -> ChatFormat:
        return load_chat_format(self._base.path, self._settings.model.template_options)

    def before(self, asked: AskedPrompt) -> AskedPrompt | None:
        """Return the prompt with examples and the order; None if there are neither, or no room for them.

        A prompt that came rendered, without its messages, has no place for them.
        """
        if not asked.messages:
            return None
        for longer, most in self._examples.shown_with(asked.messages):
            prompt = self._chat.render(longer)
            if self._has_room(asked.prompt, prompt, most):
                return AskedPrompt(prompt, digest_prompt(prompt), asked.reply_id, tuple(longer))
        return None

    def _has_room(self, plain: str, longer: str, most: int | None) -> bool:
        """Return whether an answer fits after the longer prompt, and the examples take at most `most` tokens."""
        before, tokens = (len(self._chat.token_ids(prompt)) for prompt in (plain, longer))
        room = window_of(self._base.path, self._settings.model) - expected_tokens(self._chat, self._settings.generation)
        return tokens <= room and (most is None or tokens - before <= most)
