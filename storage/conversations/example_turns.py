"""Example turns of a prompt, which show the base how to answer: nobody said them, and no round learns from them."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

SHOWN_AS = "shown_as"
"""The key that example turns have beside `role` and `content`."""


class ShownAs(StrEnum):
    CARD = "example of the card"
    LIKED = "answer that people like"


def without_examples(messages: Iterable[dict[str, str]]) -> list[dict[str, str]]:
    return [message for message in messages if SHOWN_AS not in message]
