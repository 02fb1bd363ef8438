"""Formats numbers, durations, versions and message links for people."""

from __future__ import annotations

import math
from dataclasses import dataclass

BASE_NAME = "base"
LEAST_SHOWN_SHARE = 0.005
"""Minimum share of the votes that a rule must remove to be mentioned."""


def gettext_noop(message: str, /) -> str:
    """Return an English sentence unchanged: the bot translates it where it is shown."""
    return message


SCHEDULE = gettext_noop("schedule")
"""`requested_by` of a scheduled round."""
WHOLE_NUMBER = gettext_noop("it must be a whole number")
NUMBER = gettext_noop("it must be a number")
TRUE_OR_FALSE = gettext_noop("it must be true or false")
PYDANTIC_MISTAKES = {
    "int_type": WHOLE_NUMBER,
    "int_parsing": WHOLE_NUMBER,
    "int_from_float": WHOLE_NUMBER,
    "float_type": NUMBER,
    "float_parsing": NUMBER,
    "bool_type": TRUE_OR_FALSE,
    "bool_parsing": TRUE_OR_FALSE,
    "string_type": gettext_noop("it must be text"),
}


def version_name(number: int | None) -> str:
    """Return "v3", or the name of the base model for None."""
    return BASE_NAME if number is None else f"v{number}"


def not_learned_yet(*, follows_card: bool) -> str:
    """Return the words for a personality whose base answers, perhaps with examples of its card."""
    if follows_card:
        return gettext_noop("has not learned yet and follows the examples on its card")
    return gettext_noop("has not learned yet")


def tenths(number: float) -> str:
    """Return a number rounded to tenths, without a trailing ".0"."""
    return f"{number:,.1f}".removesuffix(".0")


def count(number: float, noun: str, nouns: str = "") -> str:
    """Return "1 vote", "12 votes" or, for weighted votes, "7.5 votes"."""
    written = tenths(number)
    return f"{written} {noun if written == '1' else nouns or noun + 's'}"


SHORT_UNITS = {"second": "s", "minute": "min", "hour": "h"}


@dataclass(frozen=True)
class Duration:
    """A duration: in English as text, such as "42 s"; the bot writes it in the reader's language."""

    seconds: float

    @property
    def rounded(self) -> tuple[int, str]:
        """Return 42 and "second" or, from 90 s, 3 and "minute", both rounded up, or, from 90 min, 2 and "hour"."""
        if self.seconds < 90:
            return math.ceil(self.seconds), "second"
        if self.seconds < 5400:
            return math.ceil(self.seconds / 60), "minute"
        return math.floor(self.seconds / 3600 + 0.5), "hour"

    def __str__(self) -> str:
        count, unit = self.rounded
        return f"{count} {SHORT_UNITS[unit]}"


def shorten(text: str, limit: int) -> str:
    """Return the text, cut to `limit` characters; an ellipsis marks the cut."""
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def mistake(kind: str, message: str) -> str:
    """Return pydantic's message about a value in plain words; `kind` is the type of its error."""
    said = message.removeprefix("Value error, ")
    return PYDANTIC_MISTAKES.get(kind) or (said[0].lower() + said[1:]).replace("input should", "it must").replace(
        "tuple", "list"
    )


def message_link(guild_id: int | None, channel_id: int, message_id: int | None) -> str:
    """Return the address of a Discord message; `guild_id` is None for direct messages."""
    return f"https://discord.com/channels/{guild_id or '@me'}/{channel_id}/{message_id}"


def format_bytes(number: float) -> str:
    """Return "9.1 GB" or "270 MB"."""
    return f"{number / 1e9:,.1f} GB" if number >= 1e9 else f"{number / 1e6:.0f} MB"
