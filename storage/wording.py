"""Numbers and sources of pairs as people read them."""

from __future__ import annotations

from storage.schema import REPLAY, PairSource

SOURCE_WORDS = {
    PairSource.CORRECTION: "suggestions",
    PairSource.CORRECTED_SAMPLE: "suggestions against other answers",
    PairSource.SIBLINGS: "siblings",
    PairSource.LONE_VOTE: "lone votes",
    PairSource.SINGLE: "single votes",
    REPLAY: "earlier rounds",
}
"""What members read: "3 from suggestions"."""


def tenths(number: float) -> str:
    """Return a number as people write it: to a tenth, without a tenth that is none."""
    return f"{number:,.1f}".removesuffix(".0")


def count(number: float, noun: str, nouns: str = "") -> str:
    """Return "1 vote", "12 votes" or, of votes that weigh less than one, "7.5 votes"."""
    written = tenths(number)
    return f"{written} {noun if written == '1' else nouns or noun + 's'}"
