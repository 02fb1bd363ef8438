"""The examples of its card before a prompt, as the bot shows them to the base until a version has learned them."""

from __future__ import annotations

from storage.conversations.example_turns import ShownAs, fewer_and_fewer, turns_of, with_earlier
from storage.conversations.replies import digest_prompt
from storage.models.base_model import BaseModel, window_of
from storage.models.chat_format import load_chat_format
from storage.personalities.cards import Card
from storage.personalities.shown_examples import examples_budget, examples_to_show
from storage.settings.sections import Settings
from storage.training.samples import AskedPrompt
from trainer.evaluation.sampling import expected_tokens


class CardExamples:
    """As many of a card's first examples as fit, rendered with a prompt."""

    def __init__(self, card: Card, settings: Settings, base: BaseModel) -> None:
        self._dialogues = [example.dialogue for example in examples_to_show(settings, card)]
        self._chat = load_chat_format(base.path, settings.model.template_options)
        self._budget = examples_budget(settings.model)
        self._most = window_of(base.path, settings.model) - expected_tokens(self._chat, settings.generation)

    def before(self, asked: AskedPrompt) -> AskedPrompt | None:
        """Return the prompt as the base is asked it; None if there are no examples, or if there is no room for any."""
        for number in filter(None, fewer_and_fewer(len(self._dialogues))):
            turns = turns_of(self._dialogues[:number], ShownAs.CARD)
            longer = with_earlier(asked.messages, turns)
            prompt = self._chat.render(longer)
            tokens = len(self._chat.token_ids(prompt))
            if tokens - len(self._chat.token_ids(asked.prompt)) <= self._budget and tokens <= self._most:
                return AskedPrompt(prompt, digest_prompt(prompt), asked.reply_id, tuple(longer))
        return None
