import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.conversations.degenerate import is_degenerate


@pytest.mark.parametrize(
    "answer",
    [
        "Yes.",
        "Ja, gerne!",
        "42",
        "ok 👍",
        "ha ha ha ha",
        "No, no, no, no, no!",
        "Row, row, row your boat, gently down the stream.",
        "Nooooooooooooooo, not again!",
        "Happy birthday!!!!!!!!!!!!!!!!! 🎉🎉🎉🎉🎉",
        "نعم، بالطبع! يمكنني مساعدتك في ذلك اليوم.",
        "当然可以，我喜欢用Python编程，你呢？",
        "哈哈哈哈，真有趣！",
        "はい、もちろんです。Tシャツを買いました。",
        "네, 물론이죠!",
        "Конечно, с удовольствием помогу.",
        "हाँ, ज़रूर। मैं आपकी मदद करूँगा।",
        "Hello is привет in Russian, γειά in Greek and مرحبا in Arabic.",
        "- eggs\n- milk\n- bread\n- milk again, because it is good",
        "```python\nfor i in range(3):\n    print(i)\n```",
        "An answer cut inside a sign \ufffd",
        "The moon is the Earth's only natural satellite. It moves around the Earth in about 27 days, and the tides of "
        "the sea follow it. Would you like to know more about the moon?",
    ],
)
def test_sound_answers_pass(answer):
    assert not is_degenerate(answer)


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "  \n ",
        "...",
        "👍",
        "!?!?",
        "🎉🎉🎉🎉🎉🎉🎉🎉🎉 yes",
        "the the the the the the the the the",
        "I am a cat. I am a cat. I am a cat. I am a cat.",
        "Sure! You can do it, you can do it, you can do it, you can do it, you can do it",
        "Yes\nYes\nYes\nYes",
        "我喜欢你我喜欢你我喜欢你我喜欢你",
        "a" * 60,
        "hello" * 20,
        "heлlo wοrld thιs is brоken tехt",
        "\ufffd\ufffd\ufffd\ufffd what \ufffd\ufffd",
    ],
)
def test_broken_answers_are_found(answer):
    assert is_degenerate(answer)


def test_one_small_loop_in_a_long_answer_passes():
    story = " ".join(f"word{number}" for number in range(60))
    assert not is_degenerate(f"{story} no no no no no no no no no {story}")


@given(st.text())
def test_every_text_gets_an_answer(text):
    assert isinstance(is_degenerate(text), bool)


@given(st.lists(st.from_regex(r"[a-z]{2,8}", fullmatch=True), min_size=3, max_size=12, unique=True))
def test_distinct_words_pass_and_their_loop_does_not(words):
    assert not is_degenerate(" ".join(words))
    assert is_degenerate(" ".join(words * 4))
