"""A base's chat template: the one place that renders prompts and recognises the ends of thoughts and answers."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from storage.errors import BaseModelError
from storage.models.answer_stream import AnswerStream, Decode, Thought, ThoughtRoom, words_only
from storage.models.base_model import configured_end_ids, load_tokenizer

Messages = Sequence[Mapping[str, object]]
TemplateOptions = Mapping[str, Any]
"""Variables of the chat template and their values, as in `model.template_options`."""
THINKING = "enable_thinking"
"""The variable by which templates switch thinking on and off."""
THOUGHTS = (
    Thought("<think>", "</think>", "<think>\n\n</think>\n\n"),  # Qwen 3, SmolLM3, DeepSeek R1 and many others
    Thought("<|channel>", "<channel|>", "<|channel>thought\n<channel|>"),  # Gemma 4
    Thought("[THINK]", "[/THINK]", "[THINK][/THINK]"),  # Mistral's reasoning models
)
STORED_DAY = datetime(2026, 9, 30, tzinfo=UTC)
"""Today's date in every rendered prompt, so that a prompt and its digest never change, and it is drawn only once.

No date is written longer in English than this Wednesday in September: a prompt that fits with it fits with any.
"""
DATE = re.compile(r"""strftime_now\(\s*(["'])(.*?)\1\s*\)""")
"""Calls by which templates ask for today's date in a format; transformers lets nobody else answer them."""
SYSTEM = {"role": "system", "content": "Be brief."}
USER = {"role": "user", "content": "Hi."}
ASSISTANT = {"role": "assistant", "content": "Hello."}


def load_chat_format(folder: Path, options: TemplateOptions, tokenizer_class: str = "AutoTokenizer") -> ChatFormat:
    """Return the format of the base in a folder, with a tokenizer of its own; raises BaseModelError."""
    return ChatFormat(load_tokenizer(folder, tokenizer_class), options, configured_end_ids(folder))


class ChatFormat:
    """Renders conversations with a base's chat template, and finds the text before and the tokens after an answer.

    Not thread-safe: a tokenizer that two threads use raises "Already borrowed".
    """

    def __init__(self, tokenizer: Any, options: TemplateOptions, configured_ends: Collection[int]) -> None:
        """`configured_ends` are the tokens that end an answer by the model's generation settings.

        Raises BaseModelError if there is no chat template, or if it cannot render a conversation.
        """
        self.tokenizer = tokenizer
        template = _template_of(tokenizer)
        added = dict(tokenizer.added_tokens_decoder)
        self.unknown_options = tuple(name for name in options if not re.search(rf"\b{re.escape(name)}\b", template))
        """Options that the template does not read."""
        self.options = dict(options)
        """The variables that the template gets."""
        self._template = DATE.sub(lambda date: f"{date[1]}{STORED_DAY.strftime(date[2])}{date[1]}", template)
        self.folds_system = False
        self._require([USER], "a single user message")
        self.folds_system = self._refuses_system()
        """True if the system prompt begins the first user message, because the template refuses or ignores it."""
        self.knows_thinking = self._knows_thinking()
        """True if the template can switch thinking on and off; it is off unless the options set it."""
        if self.knows_thinking:
            self.options = {THINKING: False, **options}
        self._require([SYSTEM, USER, ASSISTANT, USER], "a conversation of several turns")
        written = self.render([USER]) + self.render([SYSTEM, USER])
        dates = {date[2] for date in DATE.finditer(template) if "%Y" in date[2]}
        self._dates = {form for form in dates if STORED_DAY.strftime(form) in written}
        """Formats in which the template writes today, such as "%d %b %Y"; one without a year could match any number."""
        self.end_of_turn = self._find_end_of_turn(added)
        """ID of the token that the template puts after an answer."""
        self.end_ids = frozenset({self.end_of_turn, *configured_ends, tokenizer.eos_token_id} - {None})
        """IDs of all tokens that end an answer."""
        ids = sorted(self.end_ids, key=lambda id_: (id_ != self.end_of_turn, id_))
        self.ends = {id_: str(tokenizer.convert_ids_to_tokens(id_)) for id_ in ids}
        """The same tokens, {ID: text}; the token that ends a turn comes first."""
        names = {str(token) for token in added.values()}
        self.thought = next((one for one in THOUGHTS if one.end in template or one.end in names), None)
        """The model's notation for a thought; None if neither the template nor the tokenizer knows one."""
        prompt = self.render([USER])
        self.opens_thought = self.thought is not None and self.thought.is_open_in(prompt)
        """True if the template itself begins a thought, so that the model must think."""
        self.thinks = self.opens_thought or (self.knows_thinking and bool(self.options[THINKING]))
        """True if a thought is expected before each answer."""
        self.space = self._find_space(prompt)
        """Whitespace that the template puts between a prompt and its answer, as Llama 2's and Mistral's do."""
        specials = _specials_in(tokenizer, added)
        self.special_markers = tuple(
            text for text in specials.values() if self.thought and text in (self.thought.begin, self.thought.end)
        )
        """Special tokens that begin or end a thought; servers leave them out of an answer's text."""
        self.decode = words_only(self._decode, specials, self.thought)
        """Returns the text of token IDs, without special tokens except those that begin or end a thought."""

    def render(self, messages: Messages) -> str:
        """Return the prompt for these messages, with its special tokens; where the template writes today,
        STORED_DAY."""
        return self._apply(messages, add_generation_prompt=True)

    def dated(self, prompt: str, now: datetime) -> str:
        """Return a rendered prompt as served at that time: with that date where the template writes today's."""
        for form in sorted(self._dates, key=len, reverse=True):
            # The first is the template's own, because it stands before anybody's words.
            prompt = prompt.replace(STORED_DAY.strftime(form), now.strftime(form), 1)
        return prompt

    def token_ids(self, text: str) -> list[int]:
        """Return the token IDs of a rendered prompt or an answer; no special token is added."""
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def context_of(self, prompt: str) -> str:
        """Return the text directly before an answer: the prompt, with an empty thought if the model thinks."""
        if self.thought is None or prompt.rstrip().endswith(self.thought.end):
            return prompt
        if self.thought.is_open_in(prompt):
            return self.thought.close(prompt)
        return prompt + self.thought.empty if self.thinks else prompt

    def thought_room(self, most: int, window: int) -> ThoughtRoom:
        """Return the limits on thoughts, given generation.max_thought_tokens and the context window.

        Some models think although thinking is off.
        """
        return ThoughtRoom(most if self.thought else 0, window)

    def stream(
        self, prompt: str, max_new_tokens: int, max_thought_tokens: int, decode: Decode | None = None
    ) -> AnswerStream:
        """Return a stream that reads an answer to the prompt, token by token."""
        return AnswerStream(decode or self.decode, self.thought, prompt, max_new_tokens, max_thought_tokens)

    def _apply(self, messages: Messages, *, add_generation_prompt: bool, **options: Any) -> str:
        folded = fold_system(messages) if self.folds_system else messages
        return str(
            self.tokenizer.apply_chat_template(
                [dict(message) for message in folded],
                tokenize=False,
                add_generation_prompt=add_generation_prompt,
                chat_template=self._template,
                **{**self.options, **options},
            )
        )

    def _decode(self, ids: list[int]) -> str:
        return str(self.tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False))

    def _require(self, messages: Messages, what: str) -> None:
        """Raise BaseModelError if these messages cannot be rendered, or if the prompt lacks the user's text."""
        try:
            prompt = self.render(messages)
        except Exception as error:  # templates raise all kinds of errors
            raise BaseModelError(
                f"the chat template of {self.tokenizer.name_or_path} fails on {what} ({error}): "
                "take the template of the model's publisher, or set model.base to another model"
            ) from error
        if USER["content"] not in prompt:
            raise BaseModelError(
                f"the chat template of {self.tokenizer.name_or_path} leaves out what users write: "
                "take the template of the model's publisher, or set model.base to another model"
            )

    def _refuses_system(self) -> bool:
        try:
            return SYSTEM["content"] not in self.render([SYSTEM, USER])
        except Exception:
            return True

    def _knows_thinking(self) -> bool:
        on, off = (self._apply([SYSTEM, USER], add_generation_prompt=True, **{THINKING: on}) for on in (True, False))
        return on != off

    def _find_end_of_turn(self, added: Collection[int]) -> int:
        """Return the first token after an answer; the tokenizer's end token if plain text or nothing follows."""
        turn = self._apply([USER, ASSISTANT], add_generation_prompt=False)
        for id_ in self.token_ids(turn.rpartition(ASSISTANT["content"])[2]):
            if self.tokenizer.decode([id_]).strip():
                if id_ in added:
                    return id_
                break
        if self.tokenizer.eos_token_id is None:
            raise BaseModelError(
                f"no token ends an answer of {self.tokenizer.name_or_path}: set eos_token in its tokenizer_config.json"
            )
        return int(self.tokenizer.eos_token_id)

    def _find_space(self, prompt: str) -> str:
        turn = self._apply([USER, ASSISTANT], add_generation_prompt=False)
        between = turn.removeprefix(prompt).rpartition(ASSISTANT["content"])[0]
        return between if turn.startswith(prompt) and not between.strip() else ""


def fold_system(messages: Messages) -> Messages:
    """Return the messages with the system message at the beginning of the first turn, which is a user's."""
    first, *rest = messages
    if first["role"] != "system":
        return messages
    if not rest or rest[0]["role"] != "user":
        return [{"role": "user", "content": first["content"]}, *rest]
    return [{"role": "user", "content": f"{first['content']}\n\n{rest[0]['content']}"}, *rest[1:]]


def _template_of(tokenizer: Any) -> str:
    try:
        return str(tokenizer.get_chat_template())
    except ValueError as error:
        raise BaseModelError(
            f"{tokenizer.name_or_path} has no chat template: set model.base to a chat model, or copy its publisher's "
            "chat_template.jinja there"
        ) from error


def _specials_in(tokenizer: Any, added: Mapping[int, Any]) -> dict[int, str]:
    """Return {id: name} of the tokens that are not text."""
    named = dict(zip(tokenizer.all_special_ids, tokenizer.all_special_tokens, strict=True))
    return {id_: str(token) for id_, token in added.items() if token.special} | named
