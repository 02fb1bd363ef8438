"""Numbers, durations, addresses and sources of pairs as people read them."""

from __future__ import annotations

import math


def tenths(number: float) -> str:
    """Return a number as people write it: to a tenth, without a tenth that is none."""
    return f"{number:,.1f}".removesuffix(".0")


def count(number: float, noun: str, nouns: str = "") -> str:
    """Return "1 vote", "12 votes" or, of votes that weigh less than one, "7.5 votes"."""
    written = tenths(number)
    return f"{written} {noun if written == '1' else nouns or noun + 's'}"


def duration(seconds: float) -> str:
    """Return "42 s", or "3 min" of what is longer; never less than it takes."""
    return f"{math.ceil(seconds)} s" if seconds < 90 else f"{math.ceil(seconds / 60)} min"


def message_link(guild_id: int | None, channel_id: int, message_id: int | None) -> str:
    """Return the address of a Discord message; direct messages are in no server."""
    return f"https://discord.com/channels/{guild_id or '@me'}/{channel_id}/{message_id}"
