"""What members say after an answer: thanks, or that they go on; complaints say neither."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.text.follow_ups import read_follow_up
from storage.database.enums import WeakVote

THANKS = [
    "thanks!",
    "Thank you so much, that helped",
    "thx",
    "ty",
    "Oh great, thank you!",
    "I really appreciate it",
    "That was the missing piece. Thanks, mate.",
    "Danke dir!",
    "perfekt danke",
    "Vielen Dank! Und was ist mit Sonntag?",
    "Ich danke dir",
    "Dankeschön 😊",
]
GOES_ON = [
    "And what about Sunday?",
    "tell me more about bees",
    "Und wie ist es am Sonntag?",
    "Ich hätte noch eine Frage zu Bienen",
    "How do you say thank you in Spanish?",
    "Write a thank you note for my aunt",
    "Thanks to the rain we stayed home",
    "thanks in advance for your answer, what is a hive?",
    "> thanks\nwhere do they live?",
]
COMPLAINTS = [
    "Thanks but that's wrong",
    "thanks, but wrong",
    "no thanks",
    "Thanks for nothing",
    "Great, thank you, now I'm confused",
    "thanks, that didn’t help",
    "thank you, can you make it shorter?",
    "wow thanks 🙄",
    "thanks /s",
    "that is not what I asked for",
    "what do you mean by that",
    "danke, aber das stimmt nicht",
    "Nein danke",
    "Danke für nichts",
    "Danke, das ist falsch",
    "Danke, aber bitte kürzer",
    "Was meinst du damit eigentlich",
    "Das war Quatsch, oder",
]
NOTHING = ["", "ok", "hm", "???", "😂", "tell me", "`thanks`", "https://example.org/thanks"]


@pytest.mark.parametrize("text", THANKS)
def test_thanks(text: str) -> None:
    assert read_follow_up(text) is WeakVote.THANKED


@pytest.mark.parametrize("text", GOES_ON)
def test_going_on(text: str) -> None:
    assert read_follow_up(text) is WeakVote.WENT_ON


@pytest.mark.parametrize("text", COMPLAINTS + NOTHING)
def test_complaints_and_a_word_or_two_say_nothing(text: str) -> None:
    assert read_follow_up(text) is None


def test_whoever_asks_the_same_again_does_not_go_on() -> None:
    question = "When does the library open on Sunday?"
    assert read_follow_up("so when does the library open", question) is None
    assert read_follow_up("and where can I park my bike", question) is WeakVote.WENT_ON


@given(
    st.sampled_from(THANKS + GOES_ON),
    st.sampled_from(["but", "wrong", "not", "aber", "falsch", "nicht", "again", "nochmal", "👎"]),
    st.booleans(),
)
def test_one_word_that_objects_is_enough(text: str, objection: str, comes_first: bool) -> None:
    words = f"{objection} {text}" if comes_first else f"{text} {objection}"
    assert read_follow_up(words.replace("> ", "").replace("\n", " ")) is None


@given(st.sampled_from(THANKS), st.sampled_from(["{}", " {} ", "\n{}", "{} 😊", "**{}**"]), st.booleans())
def test_case_and_decoration_do_not_matter(text: str, decoration: str, is_loud: bool) -> None:
    assert read_follow_up(decoration.format(text.upper() if is_loud else text)) is WeakVote.THANKED


@given(st.text(max_size=3_000))
def test_any_text_is_read(text: str) -> None:
    assert read_follow_up(text, text[::-1]) in (None, WeakVote.THANKED, WeakVote.WENT_ON)
