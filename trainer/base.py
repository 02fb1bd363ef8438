"""The base of a round: facts of its files, read once, and prompts as it is served them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from storage.conversations.replies import digest_prompt
from storage.models.base_model import BaseModel, window_of
from storage.models.chat_format import ChatFormat, load_chat_format
from storage.models.shape import ModelShape, known_shape
from storage.settings.sections import GenerationSettings, ModelSettings
from storage.taste.examples import Examples
from storage.training.feedback import Render
from storage.training.samples import AskedPrompt


@dataclass(frozen=True)
class RoundBase:
    """The base that a round trains and asks. Each fact is read from the base's files when it is first needed."""

    model: BaseModel
    served: ModelSettings
    """The settings under which the bot serves it."""

    @cached_property
    def chat(self) -> ChatFormat:
        return load_chat_format(self.model.path, self.served.template_options)

    @cached_property
    def window(self) -> int:
        """The most tokens of prompt, thought and answer together."""
        return window_of(self.model.path, self.served)

    @cached_property
    def shape(self) -> ModelShape | None:
        """The model's sizes; None if its files do not show them."""
        return known_shape(self.model.path)

    def render(self, messages: Sequence[dict[str, str]]) -> str:
        """Return the prompt that the base is served for these chat messages."""
        return self.chat.render(messages)


def with_system_prompt(system_prompt: str, messages: Sequence[dict[str, str]]) -> list[dict[str, str]]:
    """Return the messages as they are served: after the system prompt, unless it is blank or they begin with one."""
    if not system_prompt.strip() or (messages and messages[0]["role"] == "system"):
        return list(messages)
    return [{"role": "system", "content": system_prompt}, *messages]


def ask_alone(message: str, system_prompt: str, render: Render) -> AskedPrompt:
    """Return one of our own messages as the prompt of a conversation that begins with it."""
    return ask_whole(with_system_prompt(system_prompt, [{"role": "user", "content": message}]), render)


def ask_whole(messages: Sequence[dict[str, str]], render: Render) -> AskedPrompt:
    """Return the prompt of a conversation that no reply belongs to."""
    prompt = render(messages)
    return AskedPrompt(prompt, digest_prompt(prompt), messages=tuple(messages))


def expected_tokens(chat: ChatFormat, generation: GenerationSettings) -> int:
    """Return the number of answer tokens that memory is planned for; a thought's tokens count only if the model thinks.

    A model that thinks although thinking is off gets as much room as from the bot, and takes more memory than planned.
    """
    return generation.max_new_tokens + (generation.max_thought_tokens if chat.thinks else 0)


@dataclass(frozen=True)
class ShownExamples:
    """Prompts as the bot asks the base before there is a version: after as many examples as fit, and an order."""

    examples: Examples
    base: RoundBase
    generation: GenerationSettings

    def before(self, asked: AskedPrompt) -> AskedPrompt | None:
        """Return the prompt with examples and the order; None if there are neither, or no room for them.

        A prompt that came rendered, without its messages, has no place for them.
        """
        if not asked.messages:
            return None
        for longer, most in self.examples.shown_with(asked.messages):
            prompt = self.base.render(longer)
            if self._has_room(asked.prompt, prompt, most):
                return AskedPrompt(prompt, digest_prompt(prompt), asked.reply_id, tuple(longer))
        return None

    def _has_room(self, plain: str, longer: str, most: int | None) -> bool:
        """Return whether an answer fits after the longer prompt, and the examples take at most `most` tokens."""
        chat = self.base.chat
        before, tokens = (len(chat.token_ids(prompt)) for prompt in (plain, longer))
        room = self.base.window - expected_tokens(chat, self.generation)
        return tokens <= room and (most is None or tokens - before <= most)
