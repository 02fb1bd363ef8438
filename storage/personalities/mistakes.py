"""Translatable sentences for the mistakes that pydantic finds in a card."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic_core import ErrorDetails

from storage.sentences import Figure, Sentence
from storage.wording import PYDANTIC_MISTAKES, gettext_noop, mistake

TABLE = gettext_noop("it must be a table with keys of its own")
WORDS = PYDANTIC_MISTAKES | {
    "dict_type": TABLE,
    "finite_number": gettext_noop("it must be a finite number"),
    "greater_than": gettext_noop("it must be greater than {gt}"),
    "greater_than_equal": gettext_noop("it must be greater than or equal to {ge}"),
    "less_than_equal": gettext_noop("it must be less than or equal to {le}"),
    "missing": gettext_noop("it is missing"),
    "model_type": TABLE,
    "tuple_type": gettext_noop("it must be a list"),
}
"""Sentences by the type of pydantic's error, with the names of its context."""
LONG_TEXT = gettext_noop("it must have at most {max_length} characters, but has {actual_length}")
LONG_LIST = gettext_noop("it must have at most {max_length} entries, but has {actual_length}")
OF_A_TEXT = "Value"
"""pydantic's name for a text that one of our validators has checked."""


def mistake_in(error: ErrorDetails) -> str:
    """Return the mistake as a sentence; mistakes that no card can have stay in pydantic's English.

    A ValueError of a card's validators holds the sentence.
    """
    kind, context = error["type"], error.get("ctx", {})
    if kind == "value_error":
        found: str = context["error"].args[0]
        return found
    if kind == "too_long":
        return Sentence(LONG_TEXT if context["field_type"] == OF_A_TEXT else LONG_LIST, **_numbers(context))
    return Sentence(WORDS[kind], **_numbers(context)) if kind in WORDS else mistake(kind, error["msg"])


def _numbers(context: Mapping[str, Any]) -> dict[str, object]:
    """Return the numbers of an error; a limit such as 5.0 is written as 5."""
    numbers = {name: value for name, value in context.items() if isinstance(value, int | float)}
    return {name: Figure(value, "g" if isinstance(value, float) else ",") for name, value in numbers.items()}
