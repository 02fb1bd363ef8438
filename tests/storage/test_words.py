"""Words are counted alike in scripts with and without spaces between them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.words import count_words, first_words, split_words

LUNCH = {
    "English": "Hi! I had ramen for lunch today and it was really good. What about you? "
    "Shall we play a game together tonight?",
    "Japanese": "やあ！今日のお昼はラーメンを食べたんだけど、すごくおいしかったよ。君は？今夜一緒にゲームしない？",
    "Chinese": "嗨！我今天午饭吃了拉面，真的很好吃。你呢？今晚要不要一起玩游戏？",
    "Thai": "หวัดดี! วันนี้ตอนเที่ยงเรากินราเมนมา อร่อยมากเลย แล้วเธอล่ะ? คืนนี้มาเล่นเกมด้วยกันไหม?",
}


@pytest.mark.parametrize("message", LUNCH.values(), ids=LUNCH)
def test_a_message_has_as_many_words_in_each_language(message: str) -> None:
    assert count_words(message) == pytest.approx(count_words(LUNCH["English"]), rel=0.25)


@given(st.text(st.characters(max_codepoint=0x2FF)))
def test_european_words_stand_between_spaces(text: str) -> None:
    assert split_words(text) == text.split()


def test_signs_are_no_words_and_scripts_mix() -> None:
    assert split_words("「Reactune」は、とても good なボット！") == ["Reactune", "は", "とても", "good", "なボッ", "ト"]
    assert count_words("。！？「」、") == 0


@given(st.text(), st.integers(1, 9))
def test_the_beginning_has_as_many_words_as_asked_for(text: str, most: int) -> None:
    beginning = first_words(text, most)
    assert text.startswith(beginning)
    assert split_words(beginning) == split_words(text)[:most]
