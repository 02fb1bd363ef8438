"""The examples of its card before a prompt, as the bot shows them to the base until a version has learned them."""

from __future__ import annotations

from functools import cached_property

from sqlalchemy.orm import Session

from storage.conversations.example_turns import ShownAs, fewer_and_fewer, turns_of, with_earlier
from storage.conversations.replies import digest_prompt
from storage.models.base_model import BaseModel, window_of
from storage.models.chat_format import ChatFormat, load_chat_format
from storage.personalities.cards import Card
from storage.personalities.personalities import read_personality
from storage.personalities.shown_examples import examples_budget, examples_to_show
from storage.settings.sections import Settings
from storage.training.samples import AskedPrompt
from trainer.evaluation.sampling import expected_tokens


class CardExamples:
    """Puts as many of a card's first examples before a prompt as fit."""

    def __init__(self, card: Card, settings: Settings, base: BaseModel) -> None:
        self._dialogues = [example.dialogue for example in examples_to_show(settings, card)]
        self._settings = settings
        self._base = base

    @classmethod
    def read(cls, session: Session, personality_id: int, settings: Settings, base: BaseModel) -> CardExamples:
        """Return those of the personality's card; nothing of the base is loaded before the first prompt."""
        return cls(read_personality(session, personality_id).card, settings, base)

    @cached_property
    def _chat(self) -> ChatFormat:
        return load_chat_format(self._base.path, self._settings.model.template_options)

    def before(self, asked: AskedPrompt) -> AskedPrompt | None:
        """Return the prompt as the base is asked it; None if there are no examples, or if there is no room for any.

        They cannot be put into one that came rendered, without its messages.
        """
        if not self._dialogues or not asked.messages:
            return None
        settings, plain = self._settings, len(self._chat.token_ids(asked.prompt))
        most = window_of(self._base.path, settings.model) - expected_tokens(self._chat, settings.generation)
        for number in filter(None, fewer_and_fewer(len(self._dialogues))):
            turns = turns_of(self._dialogues[:number], ShownAs.CARD)
            longer = with_earlier(asked.messages, turns)
            prompt = self._chat.render(longer)
            tokens = len(self._chat.token_ids(prompt))
            if tokens - plain <= examples_budget(settings.model) and tokens <= most:
                return AskedPrompt(prompt, digest_prompt(prompt), asked.reply_id, tuple(longer))
        return None
