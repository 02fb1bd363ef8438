"""IDs and other whole numbers, as people and their browsers send them."""

from __future__ import annotations

LARGEST_ID = 2**63 - 1
"""Of answers, and of anything on Discord."""
LARGEST_NUMBER = 2**31 - 1
"""Of other rows: PostgreSQL refuses a larger number beside an INTEGER."""


def parse_id(text: str, largest: int = LARGEST_ID) -> int | None:
    """Return the number from 0 to `largest` that the text is; None if it is none."""
    is_number = text.isdecimal() and len(text) <= len(str(largest))
    return int(text) if is_number and int(text) <= largest else None
