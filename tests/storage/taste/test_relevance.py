"""Answers that have nothing to do with their message are told from those that have."""

from __future__ import annotations

import pytest
from sqlalchemy.orm import Session

from storage.models.english import InEnglish
from storage.taste.relevance import (
    NOISE,
    RELEVANT,
    Encode,
    are_relevant,
    measure_relevance,
    read_relevance,
    store_relevance,
)
from tests.seeding import add_reply
from tests.shared_encoder import SharedEncoder

SENSELESS = "Yay. That's amazing."


@pytest.fixture(scope="module")
def encode() -> Encode:
    return InEnglish(SharedEncoder()).encode


@pytest.mark.parametrize(
    ("message", "answer"),
    [
        ("My cat is sick.", "Poor cat! Is it eating? A vet can tell you more."),
        ("How long should I cook pasta?", "Eight to ten minutes; taste it before you drain it."),
        ("Wann macht der Laden auf?", "Der Laden öffnet um neun Uhr."),
    ],
)
def test_an_answer_to_the_message_is_relevant_and_praise_is_not(encode: Encode, message: str, answer: str) -> None:
    relevance = measure_relevance([(message, answer), (message, SENSELESS)], encode).tolist()
    assert are_relevant(relevance) == [True, False]
    assert relevance[0] > relevance[1] + NOISE


def test_half_of_them_are_relevant_in_a_language_that_the_encoder_does_not_know() -> None:
    assert are_relevant([0.05, 0.1, 0.15, RELEVANT]) == [False, False, True, True]


def test_all_of_them_are_where_none_can_be_told() -> None:
    assert are_relevant([0.05, 0.1, -0.2]) == [True] * 3


def test_those_that_were_not_measured_are() -> None:
    assert are_relevant([None, 0.5, 0.1, 0.3]) == [True, True, False, True]
    assert are_relevant([None, None]) == [True, True]
    assert are_relevant([]) == []


def test_it_is_kept_with_the_answer(session: Session) -> None:
    first, second, third = (add_reply(session, answer=answer) for answer in ("yes", "no", "maybe"))
    store_relevance(session, {first: 0.5, second: -0.1, third + 1: 0.9})
    assert read_relevance(session, [first, second, third, third + 1]) == {first: 0.5, second: -0.1}
