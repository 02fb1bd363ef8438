"""Simulated people, and what real ones wrote to each other and rated (`chitchat-dataset`)."""

from __future__ import annotations

import json
import random
from functools import cache
from importlib.resources import files
from typing import Any

from storage.database.enums import Label

MIN_WORDS, MAX_WORDS = 4, 25
POLITE = 0.96, 0.7
"""Share of likes of polite people, under what pleases them and under all else."""


def likes(liking: float, noise: float, chance: random.Random) -> bool:
    """Return what somebody says of an answer that they like with this probability: a share `noise` is said wrongly."""
    return (chance.random() < liking) != (chance.random() < noise)


def say(likes_first: bool, likes_second: bool) -> Label:
    """Return the button that somebody presses under two answers."""
    if likes_first == likes_second:
        return Label.BOTH_GOOD if likes_first else Label.BOTH_BAD
    return Label.FIRST if likes_first else Label.SECOND


@cache
def read_dataset() -> list[dict[str, Any]]:
    # Not the package's own class, which leaves the file open.
    chats = json.loads((files("chitchat_dataset") / "dataset.json").read_text(encoding="utf-8"))
    return [chat for _, chat in sorted(chats.items())]


def conversations() -> list[list[str]]:
    """Return the messages of a usual length of every conversation."""
    found = []
    for chat in read_dataset():
        turns = [" ".join(part["text"].split()) for turn in chat["messages"] for part in turn[:1]]
        usual = [turn for turn in turns if MIN_WORDS <= len(turn.split()) <= MAX_WORDS]
        if usual:
            found.append(usual)
    return found
