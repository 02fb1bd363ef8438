"""Numbers in words."""

from __future__ import annotations

import pytest

from storage.wording import Duration, count, format_bytes, tenths


@pytest.mark.parametrize(
    ("number", "words"), [(0, "0"), (12, "12"), (12.0, "12"), (7.46, "7.5"), (11.99, "12"), (1234.5, "1,234.5")]
)
def test_sums_of_weights_are_written_without_an_empty_tenth(number: float, words: str) -> None:
    assert tenths(number) == words


@pytest.mark.parametrize(
    ("number", "words"), [(0, "0 votes"), (1, "1 vote"), (0.96, "1 vote"), (7.46, "7.5 votes"), (12, "12 votes")]
)
def test_counted_nouns_are_plural_unless_the_count_is_one(number: float, words: str) -> None:
    assert count(number, "vote") == words


def test_a_plural_may_be_irregular() -> None:
    assert [count(number, "reply", "replies") for number in (1, 2)] == ["1 reply", "2 replies"]


@pytest.mark.parametrize(("number", "words"), [(269_030_400, "269 MB"), (9.13e9, "9.1 GB"), (1.2e12, "1,200.0 GB")])
def test_bytes_are_gigabytes_or_if_fewer_megabytes(number: float, words: str) -> None:
    assert format_bytes(number) == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.2, "1 s"), (42, "42 s"), (89.5, "90 s"), (90, "2 min"), (700, "12 min"), (5_400, "2 h"), (10_980, "3 h")],
)
def test_durations_are_rounded_to_seconds_minutes_or_hours(seconds: float, words: str) -> None:
    assert f"{Duration(seconds)}" == words
