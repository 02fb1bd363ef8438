"""Turns an answer's tokens into words as they arrive, and leaves out the model's thoughts before the answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

MAX_HELD_TOKENS = 8  # a character has at most 4 bytes: after more tokens, the bytes are invalid
REPLACEMENT = "\N{REPLACEMENT CHARACTER}"

Decode = Callable[[list[int]], str]
"""Returns the text of token IDs."""


@dataclass(frozen=True)
class Thought:
    """A model's notation for a thought before its answer."""

    begin: str
    end: str
    empty: str
    """A thought without content, and the text that follows it."""

    def is_open_in(self, prompt: str) -> bool:
        """Return whether a rendered prompt ends with the beginning of a thought."""
        return prompt.rstrip().endswith(self.begin)

    def close(self, prompt: str) -> str:
        """Return the prompt with its unfinished thought replaced by an empty one."""
        return prompt[: prompt.rfind(self.begin)] + self.empty


@dataclass(frozen=True)
class ThoughtRoom:
    """Limits on the tokens of a thought."""

    most: int
    """generation.max_thought_tokens; 0 if the base knows no thoughts."""
    window: int
    """Maximum number of tokens of a prompt, a thought and an answer together."""

    def beside(self, prompt_tokens: int, answer_tokens: int) -> int:
        """Return the length of the longest thought that leaves room for an answer of this length."""
        return max(0, min(self.most, self.window - prompt_tokens - answer_tokens))


def words_only(decode: Decode, specials: Mapping[int, str], thought: Thought | None) -> Decode:
    """Return `decode` without special tokens, {id: text}, except for those that begin or end a thought."""
    markers = (thought.begin, thought.end) if thought else ()
    hidden = frozenset(id_ for id_, text in specials.items() if not any(text in marker for marker in markers))
    return lambda ids: decode([id_ for id_ in ids if id_ not in hidden])


class TextStream:
    """Turns tokens into text, without incomplete or invalid bytes."""

    def __init__(self, decode: Decode) -> None:
        self._decode = decode
        self._ids: list[int] = []
        self._shown = 0

    def push(self, token: int) -> str:
        """Return the text that `token` completes."""
        self._ids.append(token)
        is_incomplete = self._decode(self._ids).endswith(REPLACEMENT)
        return "" if is_incomplete and len(self._ids) - self._shown < MAX_HELD_TOKENS else self.flush()

    def flush(self) -> str:
        """Return the text held back, without bytes that form no character."""
        known, text = self._decode(self._ids[: self._shown]), self._decode(self._ids)
        # The newest tokens stay as context: some tokenizers write a word differently at the start of a text.
        self._ids = self._ids[self._shown :]
        self._shown = len(self._ids)
        return text[len(known) :].replace(REPLACEMENT, "")


class ThoughtFilter:
    """Leaves thoughts out of a text that arrives in pieces, wherever the pieces are cut.

    A thought can begin only before the first word: an answer may be about `<think>`. The whitespace after a thought is
    left out too.
    """

    def __init__(self, thought: Thought | None, *, is_thinking: bool = False) -> None:
        """Without a `thought`, all text passes. `is_thinking` says whether the prompt has begun one."""
        self._thought = thought
        self._held = ""
        self._has_thought = is_thinking
        self.is_thinking = is_thinking
        self.has_begun = thought is None
        """True once the answer itself has begun."""

    @property
    def is_silent(self) -> bool:
        """True if the model has thought but has written no word since."""
        return self._has_thought and not self.has_begun and (self.is_thinking or not self._held.strip())

    def push(self, text: str) -> str:
        """Return the words of the answer that `text` completes."""
        if self.has_begun or self._thought is None:
            return text
        self._held += text
        while self._passes_marker(self._thought):
            pass
        return self.flush() if self.has_begun else ""

    def flush(self) -> str:
        """Return the text held back, which turned out to be no marker."""
        held, self._held = self._held, ""
        if self.is_thinking:
            return ""
        return held.lstrip() if self._has_thought else held

    def _passes_marker(self, thought: Thought) -> bool:
        """Drop the text held back up to the end of the next marker, and return whether there was one."""
        if self.is_thinking:
            _, end, rest = self._held.partition(thought.end)
            self._held = rest if end else self._held[1 - len(thought.end) :]
            self.is_thinking = not end
            return bool(end)
        words = self._held.lstrip()
        self.has_begun = not words.startswith(thought.begin) and not thought.begin.startswith(words)
        if not words.startswith(thought.begin):
            return False
        self._held = words.removeprefix(thought.begin)
        self._has_thought = self.is_thinking = True
        return True


class AnswerStream:
    """An answer token by token: its words, tokens and limits, all without thoughts."""

    def __init__(
        self, decode: Decode, thought: Thought | None, prompt: str, max_new_tokens: int, max_thought_tokens: int
    ) -> None:
        """`decode` must keep the markers of thoughts in the text; the `prompt` may have begun a thought."""
        is_thinking = thought is not None and thought.is_open_in(prompt)
        self._text = TextStream(decode)
        self._filter = ThoughtFilter(thought, is_thinking=is_thinking)
        self._undecided: list[int] = []
        """Tokens that may still turn out to begin a thought."""
        self._max_new_tokens = max_new_tokens
        self._max_thought_tokens = max_thought_tokens
        self._thought_tokens = 0
        self.answer_ids: list[int] = []

    @property
    def is_silent(self) -> bool:
        """True if the model has thought but has written no word since."""
        return self._filter.is_silent

    @property
    def is_at_limit(self) -> bool:
        """True if the answer, or a thought before its first word, has reached its token limit."""
        if self.is_silent:
            # At its limit, a thought that has ended may still be followed by the answer.
            return self._thought_tokens + self._filter.is_thinking > self._max_thought_tokens
        return len(self.answer_ids) + len(self._undecided) >= self._max_new_tokens

    def push(self, token: int) -> str:
        """Return the words that `token` completes; it must not be one that ends the answer."""
        self._undecided.append(token)
        words = self._filter.push(self._text.push(token))
        if self._filter.has_begun:
            self._decide()
        elif self.is_silent:
            self._thought_tokens += len(self._undecided)
            self._undecided.clear()
        return words

    def flush(self) -> str:
        """Return the words held back; the answer has ended."""
        words = self._filter.push(self._text.flush()) + self._filter.flush()
        self._decide()
        return words

    def _decide(self) -> None:
        self.answer_ids += self._undecided
        self._undecided.clear()
