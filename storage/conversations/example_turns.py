"""Example turns and an order that the base is shown until a version has learned them. Rounds do not train on them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from typing import TypeVar

from storage.conversations.control_tokens import sanitize

Message = TypeVar("Message", bound=Mapping[str, object])

SHOWN_AS = "shown_as"
"""The key of example turns, and of a system message with an order, besides `role` and `content`."""


class ShownAs(StrEnum):
    CARD = "example of the card"
    LIKED = "answer that people like"
    ORDER = "its last line is an order, for what people like"


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
    """Yield the numbers of examples to try until they fit: all of them first, none last."""
    while number:
        yield number
        number //= 2
    yield 0


def with_order(messages: Sequence[Mapping[str, object]], order: str) -> list[dict[str, str]]:
    """Return the messages with the one-line order at the end of the system message; unchanged if it is empty."""
    told = [{key: str(value) for key, value in message.items()} for message in messages]
    if not order:
        return told
    if told and told[0]["role"] == "system":
        order = f"{told.pop(0)['content']}\n{order}"
    return [{"role": "system", "content": order, SHOWN_AS: ShownAs.ORDER.value}, *told]


def shown_exchanges(messages: Iterable[Mapping[str, object]]) -> list[tuple[str, str]]:
    """Return each answer of the example turns with the message before it."""
    turns = [str(said["content"]) for said in messages if said.get(SHOWN_AS) in (ShownAs.CARD, ShownAs.LIKED)]
    return list(zip(turns[::2], turns[1::2], strict=True))


def order_in(messages: Iterable[Mapping[str, object]]) -> str:
    """Return the order that `with_order` added; empty if there is none."""
    told = (str(message["content"]) for message in messages if message.get(SHOWN_AS) == ShownAs.ORDER)
    return next(told, "").rpartition("\n")[2]


def without_examples(messages: Iterable[dict[str, str]]) -> list[dict[str, str]]:
    """Return the messages as a version is asked them: without example turns and without an order."""
    left: list[dict[str, str]] = []
    for message in messages:
        before, line_break, _order = message["content"].rpartition("\n")
        if SHOWN_AS not in message:
            left.append(message)
        elif message[SHOWN_AS] == ShownAs.ORDER and line_break:
            left.append({"role": message["role"], "content": before})
    return left
