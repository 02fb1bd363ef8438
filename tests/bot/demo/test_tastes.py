from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.demo.community import SHORT_WORDS, TASTES, UnknownTaste, find_taste

pytestmark = pytest.mark.usefixtures("tastes_learn_at_once")


@given(st.text(), st.text())
def test_every_taste_gives_a_probability(message: str, answer: str) -> None:
    assert all(0 <= taste(message, answer) <= 1 for taste in TASTES.values())


@pytest.mark.parametrize(
    ("taste", "liked", "disliked"),
    [
        ("short", "one two three", "word " * (SHORT_WORDS + 1)),
        ("question", 'Shall we say "why?"', "Why? Because."),
        ("calm", "Fine.", "Fine!"),
        ("warm", "I am glad you came.", "It rains."),
        ("middle", "word " * 30, "word " * 29),
        ("middle", "word " * 60, "word " * 61),
        ("short-question", "And you?", "word " * (SHORT_WORDS + 1)),
    ],
)
def test_a_taste_tells_answers_apart(taste: str, liked: str, disliked: str) -> None:
    assert find_taste(taste)("hi", liked) == 1
    assert find_taste(taste)("hi", disliked) == 0


def test_two_tastes_at_once_please_half_of_the_members_each() -> None:
    assert find_taste("short-question")("hi", "Just so.") == 0.5


def test_nobody_likes_an_empty_answer() -> None:
    assert {name: find_taste(name)("hi", " ") for name in TASTES if name != "random"} == {
        "short": 0,
        "question": 0,
        "calm": 0,
        "warm": 0,
        "middle": 0,
        "short-question": 0,
    }


def test_a_taste_may_come_from_a_module() -> None:
    assert find_taste("bot.demo.community:calm") is TASTES["calm"]


@pytest.mark.parametrize(
    "name", ["sweet", "no_such_module:taste", "bot.demo.community:no_such_taste", "bot.demo.community:SHORT_WORDS"]
)
def test_an_unknown_taste_is_refused_in_a_sentence(name: str) -> None:
    with pytest.raises(UnknownTaste, match=r"^there is no taste .*choose short, question, calm"):
        find_taste(name)
