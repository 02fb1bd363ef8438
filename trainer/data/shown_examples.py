"""Prompts as the bot asks the base, until a version has learned: with examples and an order."""

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
    """Puts as many examples before a prompt as fit. Nothing of the base is loaded before the first prompt."""

    def __init__(self, examples: Examples, settings: Settings, base: BaseModel) -> None:
        self._examples = examples
        self._settings = settings
        self._base = base

    @cached_property
    def _chat(self) -> ChatFormat:
        return load_chat_format(self._base.path, self._settings.model.template_options)

    def before(self, asked: AskedPrompt) -> AskedPrompt | None:
        """Return the prompt as the base is asked it; None if there is neither an example nor an order, or no room.

        They cannot be put into one that came rendered, without its messages.
        """
        if not asked.messages:
            return None
        for longer, most in self._examples.shown_with(asked.messages):
            prompt = self._chat.render(longer)
            if self._has_room(asked.prompt, prompt, most):
                return AskedPrompt(prompt, digest_prompt(prompt), asked.reply_id, tuple(longer))
        return None

    def _has_room(self, plain: str, longer: str, most: int | None) -> bool:
        """Return whether an answer fits after the longer prompt, and the examples into `most` tokens."""
        before, tokens = (len(self._chat.token_ids(prompt)) for prompt in (plain, longer))
        room = window_of(self._base.path, self._settings.model) - expected_tokens(self._chat, self._settings.generation)
        return tokens <= room and (most is None or tokens - before <= most)
