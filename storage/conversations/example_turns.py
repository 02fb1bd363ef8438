"""Example turns of a prompt, which show the base how to answer: nobody said them, and no round learns from them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from typing import TypeVar

from storage.conversations.control_tokens import sanitize

Message = TypeVar("Message", bound=Mapping[str, object])

SHOWN_AS = "shown_as"
"""The key that example turns have beside `role` and `content`."""


class ShownAs(StrEnum):
    CARD = "example of the card"
    LIKED = "answer that people like"


def turns_of(dialogues: Iterable[Sequence[str]], shown_as: ShownAs) -> list[dict[str, str]]:
    """Return the dialogues, each begun by a person, as example turns."""
    return [
        {"role": ("user", "assistant")[place % 2], "content": sanitize(said), SHOWN_AS: shown_as.value}
        for dialogue in dialogues
        for place, said in enumerate(dialogue)
    ]


def with_earlier(messages: Sequence[Message], turns: Sequence[Message]) -> list[Message]:
    """Return the messages with these turns before them, after the system message if there is one."""
    first = 1 if messages and messages[0]["role"] == "system" else 0
    return [*messages[:first], *turns, *messages[first:]]


def fewer_and_fewer(number: int) -> Iterator[int]:
    """Yield how many examples to try until they fit: all of them first, in the end none."""
    while number:
        yield number
        number //= 2
    yield 0


def without_examples(messages: Iterable[dict[str, str]]) -> list[dict[str, str]]:
    return [message for message in messages if SHOWN_AS not in message]
