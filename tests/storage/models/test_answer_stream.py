"""Thoughts are left out of an answer's text, wherever its pieces are cut."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from storage.models.answer_stream import AnswerStream, Thought, ThoughtFilter, ThoughtRoom
from storage.models.chat_format import THOUGHTS

THINK, CHANNEL, _ = THOUGHTS
PIECES = st.sampled_from(("<think>", "</think>", "<", "think", "</", ">", "\n", " ", "soup"))
TEXTS = st.lists(PIECES, max_size=8).map("".join)


def shown(pieces: Sequence[str], thought: Thought = THINK, *, is_thinking: bool = False) -> str:
    words = ThoughtFilter(thought, is_thinking=is_thinking)
    return "".join([*map(words.push, pieces), words.flush()])


@given(TEXTS, st.lists(st.integers(0, 40), max_size=6), st.booleans())
@example("<think>a</think>\n\nHello", [3, 9, 12], False)
def test_it_does_not_matter_where_a_text_is_cut(text: str, cuts: list[int], is_thinking: bool) -> None:
    borders = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    pieces = [text[start:end] for start, end in pairwise(borders)]
    assert shown(pieces, is_thinking=is_thinking) == shown([text], is_thinking=is_thinking)
    assert shown([*text], is_thinking=is_thinking) == shown([text], is_thinking=is_thinking)


@given(st.lists(TEXTS.filter(lambda text: "</think>" not in text), max_size=3), st.text(max_size=6))
def test_an_answer_after_any_thoughts_is_whole(thoughts: list[str], answer: str) -> None:
    answer = f"Yes{answer}"
    text = "".join(f"\n<think>{thought}</think>\n\n" for thought in thoughts) + answer
    assert shown([*text]) == answer


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Hello <think>no</think>", "Hello <think>no</think>"),  # an answer about markup
        ("  <b>Hi</b>", "  <b>Hi</b>"),
        ("<thin", "<thin"),
        ("<think>hm", ""),
        ("<think>hm</thin", ""),
        ("</think>Hi", "</think>Hi"),
        ("", ""),
    ],
)
def test_text_that_is_no_thought_passes(text: str, words: str) -> None:
    assert shown([*text]) == words


def test_a_thought_that_the_prompt_has_begun_is_left_out() -> None:
    assert shown(["so", " </thi", "nk>\n\nYes."], is_thinking=True) == "Yes."
    assert shown(["<|chan", "nel>thought\nhm<channel", "|>Yes."], CHANNEL) == "Yes."


def stream(prompt: str = "") -> AnswerStream:
    """Return a stream for 4 tokens of answer and 6 of thought, which are the code points of characters."""
    return AnswerStream(lambda ids: "".join(map(chr, ids)), Thought("{", "}", "{}"), prompt, 4, 6)


def read(answer: AnswerStream, text: str) -> str:
    """Push the text until a limit is reached, and return the words."""
    words = ""
    for character in text:
        if answer.is_at_limit:
            break
        words += answer.push(ord(character))
    return words + answer.flush()


def test_a_thought_has_its_own_limit_and_leaves_the_answers_alone() -> None:
    answer = stream()
    assert read(answer, "{hmm}\nYes, of course") == "Yes,", "six tokens of thought are six of six"
    assert (answer.answer_ids, answer.is_at_limit, answer.is_silent) == ([*map(ord, "Yes,")], True, False)


def test_a_thought_that_reaches_its_limit_ends_an_answer_without_words() -> None:
    for answer, text in ((stream(), "{hmmmmmm}Yes"), (stream("{"), "hmmmmmm}Yes"), (stream(), "{}" * 9)):
        assert read(answer, text) == ""
        assert (answer.answer_ids, answer.is_at_limit, answer.is_silent) == ([], True, True)


def test_a_thought_leaves_room_for_the_answer() -> None:
    room = ThoughtRoom(1024, 2048)
    assert [room.beside(prompt, 256) for prompt in (100, 1000, 1900)] == [1024, 792, 0]
