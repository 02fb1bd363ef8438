"""Tastes of simulated members: functions of a message and an answer that return the probability of a 👍. Pure."""

from __future__ import annotations

import importlib
import re
import unicodedata
from collections.abc import Callable

from bot.errors import BotError

Taste = Callable[[str, str], float]

SHORT_WORDS = 15
WORD = re.compile(r"[^\W\d_]{2,}")
WARM = re.compile(
    r"\b(thank|thanks|glad|happy|love|lovely|wonderful|welcome|enjoy|hope|proud|care|friend|sorry to hear|take care|"
    r"sounds (?:great|good|like fun|nice|lovely)|congratulations|good luck)\b",
    re.IGNORECASE,
)


class UnknownTaste(BotError):
    exit_code = 2

    def __init__(self, name: str, why: str) -> None:
        super().__init__(f"there is no taste {name!r} ({why}): choose {', '.join(TASTES)}, or write module:function")
        self.name = name


def short(_message: str, answer: str) -> float:
    """The answer has at most SHORT_WORDS words, and more words than emoji: a row of emoji is not an answer."""
    words, emoji = WORD.findall(answer), [sign for sign in answer if unicodedata.category(sign) == "So"]
    return float(len(answer.split()) <= SHORT_WORDS and len(words) > len(emoji))


def question(_message: str, answer: str) -> float:
    """The answer ends with a question."""
    return float(answer.rstrip(' "”)').endswith("?"))


def calm(_message: str, answer: str) -> float:
    """The answer has no exclamation marks."""
    return float(WORD.search(answer) is not None and "!" not in answer)


def warm(_message: str, answer: str) -> float:
    """The answer has a warm word."""
    return float(WARM.search(answer) is not None)


def short_question(message: str, answer: str) -> float:
    """Two tastes: an answer that meets only one pleases half of the members."""
    return (short(message, answer) + question(message, answer)) / 2


def random(_message: str, _answer: str) -> float:
    """No answer pleases these members: they vote at random."""
    return 0.5


TASTES: dict[str, Taste] = {
    taste.__name__.replace("_", "-"): taste for taste in (short, question, calm, warm, short_question, random)
}


def find_taste(name: str) -> Taste:
    """Return a built-in taste, or the function that "module:function" names; raises UnknownTaste."""
    if name in TASTES:
        return TASTES[name]
    module_name, _, function_name = name.partition(":")
    if not function_name:
        raise UnknownTaste(name, "it is not built in")
    try:
        taste = getattr(importlib.import_module(module_name), function_name)
    except (ImportError, AttributeError) as error:
        raise UnknownTaste(name, str(error)) from error
    if not callable(taste):
        raise UnknownTaste(name, "that is not a function")
    found: Taste = taste
    return found
