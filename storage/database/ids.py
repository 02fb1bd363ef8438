"""IDs and other whole numbers in text from people and browsers."""

from __future__ import annotations

LARGEST_ID = 2**63 - 1
"""Largest ID of an answer, or of anything on Discord."""
LARGEST_NUMBER = 2**31 - 1
"""Largest ID of other rows: PostgreSQL refuses to compare a larger number with an INTEGER."""


def parse_id(text: str, largest: int = LARGEST_ID) -> int | None:
    """Return the text as a number from 0 to `largest`; None if it is not such a number."""
    is_number = text.isdecimal() and len(text) <= len(str(largest))
    return int(text) if is_number and int(text) <= largest else None
