from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.text.questions import asks_in_part, is_question


@pytest.mark.parametrize(
    "text",
    [
        "why?!",
        "really? 😀",
        "Is it “open?”",
        "How do I install this",
        "what time is it",
        "What's up with the server",
        "Can you help",
        "does anyone know a good film",
        "isn't there a way to do it",
        "hi, how can I join",
        "Wie geht das",
        "wie viel kostet das",
        "Und wer hat den Schlüssel",
        "Kann man hier fragen",
        "Können Sie mir helfen",
        "weiß jemand wann wir spielen",
        "Hallo, gibt es heute ein Treffen",
        "gibts heute ein Treffen",
        "Wird das billiger",
    ],
)
def test_a_question_is_one_with_or_without_its_mark(text: str) -> None:
    assert is_question(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "???",
        "the question is open",
        "see https://a.example/?",
        "When I come home I sleep",
        "do it",
        "have a nice day",
        "What a day",
        "Can you imagine!",
        "was ich sagen wollte",
        "Wie gesagt, es geht",
        "Was für ein Tag",
        "Das ist so",
    ],
)
def test_a_statement_is_none(text: str) -> None:
    assert not is_question(text)


@given(st.text(max_size=60))
def test_any_text_with_a_letter_and_a_question_mark_at_its_end_is_one(text: str) -> None:
    assert is_question(f"{text} a?")
    assert not is_question("!" + "?" * len(text))


def test_a_question_may_begin_with_a_preposition_or_stand_after_a_remark() -> None:
    assert asks_in_part("until when do I have to hand it in")
    assert asks_in_part("my card is gone, who do I tell")
    assert asks_in_part("my toaster died, is there a day where people help")
    assert not asks_in_part("what a lovely evening")
    assert not asks_in_part("I finally finished my lamp")
    assert not asks_in_part("the change is good, was about time")
