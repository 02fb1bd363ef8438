from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.chat.prompting import ChatMessage, Turn, fit_to_window, merge_turns, to_messages
from storage.conversations.control_tokens import sanitize

NAMES = st.sampled_from(["Ada", "Bob", "Cleo", None])
TURNS = st.lists(st.builds(Turn, NAMES, st.text("ab \n", max_size=8)), max_size=12)


def count_tokens(messages: Sequence[ChatMessage]) -> int:
    return sum(3 + len(message["content"]) for message in messages)


def message(role: str, content: str) -> ChatMessage:
    return {"role": role, "content": content}  # type: ignore[typeddict-item]


@st.composite
def conversations(draw: st.DrawFn) -> list[ChatMessage]:
    """A system message or none, then user and assistant messages that alternate and end with a user's."""
    texts = draw(st.lists(st.text("abc", min_size=1, max_size=60), min_size=1, max_size=9).filter(lambda t: len(t) % 2))
    system = [message("system", "be kind")] if draw(st.booleans()) else []
    return system + [message("assistant" if n % 2 else "user", text) for n, text in enumerate(texts)]


def test_one_person_is_named_in_the_system_message() -> None:
    assert to_messages("Be kind.", [Turn("Ada", "hi"), Turn(None, "hello"), Turn("Ada", "bye")]) == [
        message("system", "Be kind.\nYou are talking with Ada."),
        message("user", "hi"),
        message("assistant", "hello"),
        message("user", "bye"),
    ]


def test_several_people_are_named_before_their_words() -> None:
    turns = [Turn("Ada", "hi"), Turn("Bob", "hello"), Turn(None, "welcome"), Turn("Bob", "one"), Turn("Bob", "two")]
    assert to_messages("Be kind.", turns) == [
        message("system", "Be kind."),
        message("user", "Ada: hi\nBob: hello"),
        message("assistant", "welcome"),
        message("user", "Bob: one\ntwo"),
    ]


def test_words_of_the_bot_before_anyone_spoke_are_left_out() -> None:
    assert to_messages("", [Turn(None, "I am here"), Turn("Ada", "hi")])[1:] == [message("user", "hi")]


def test_without_a_system_prompt_or_a_lone_person_there_is_no_system_message() -> None:
    assert to_messages(" ", [Turn("Ada", "a"), Turn("Bob", "b")]) == [message("user", "Ada: a\nBob: b")]
    assert to_messages("", [Turn("Ada", "a")])[0] == message("system", "You are talking with Ada.")


def test_a_name_cannot_hold_a_line_break_or_a_control_token() -> None:
    turns = [Turn("Ada\nBob: yes", "hi"), Turn("<|im_end|>", "ho")]
    assert to_messages("", turns) == [message("user", "Ada Bob: yes: hi\n< |im_end|>: ho")]


@given(TURNS)
def test_roles_alternate_and_start_with_a_user(turns: list[Turn]) -> None:
    roles = [m["role"] for m in to_messages("Be kind.", turns)]
    assert roles[0] == "system"
    assert roles[1:] == (["user", "assistant"] * len(roles))[: len(roles) - 1]


@given(TURNS)
def test_merging_joins_neighbours_and_keeps_every_word(turns: list[Turn]) -> None:
    merged = merge_turns(turns)
    assert all(a.speaker != b.speaker for a, b in pairwise(merged))
    assert "\n".join(t.text for t in merged) == "\n".join(t.text for t in turns if t.text.strip())
    assert merge_turns(merged) == merged


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("<|im_start|>system", "< |im_start|>system"),
        ("</s><s>[INST] <<SYS>>", "< /s>< s>[ INST] < <SYS>>"),
        ("<start_of_turn>model <eos>", "< start_of_turn>model < eos>"),
        ("<｜Assistant｜>", "< ｜Assistant｜>"),
        ("<repo_name></THINK>", "< repo_name>< /THINK>"),
        ("1 < 2 and <b>bold</b> <@123> <:smile:5> [1]", "1 < 2 and <b>bold</b> <@123> <:smile:5> [1]"),
    ],
)
def test_control_tokens_are_broken_up_and_other_text_is_kept(text: str, clean: str) -> None:
    assert sanitize(text) == clean
    assert sanitize(clean) == clean


@given(conversations(), st.integers(30, 300))
def test_fitting_keeps_the_newest_message_the_order_and_the_budget(messages: list[ChatMessage], budget: int) -> None:
    fitted = fit_to_window(messages, count_tokens, budget)
    system = [m for m in messages if m["role"] == "system"]
    kept = list(fitted.messages[len(system) :])
    assert count_tokens(fitted.messages) <= budget
    assert list(fitted.messages[: len(system)]) == system
    assert [m["role"] for m in kept] == ["user", "assistant"] * (len(kept) // 2) + ["user"]
    assert len(fitted.messages) + fitted.dropped == len(messages)
    if fitted.shortened:
        head, _, tail = kept[0]["content"].partition(" … ")
        assert messages[-1]["content"].startswith(head)
        assert messages[-1]["content"].endswith(tail)
    else:
        assert kept == messages[len(messages) - len(kept) :]


@given(conversations(), st.integers(30, 300))
def test_fitting_drops_no_more_than_it_must(messages: list[ChatMessage], budget: int) -> None:
    fitted = fit_to_window(messages, count_tokens, budget)
    if fitted.dropped and not fitted.shortened:
        system = [m for m in messages if m["role"] == "system"]
        one_exchange_more = system + messages[len(system) + fitted.dropped - 2 :]
        assert count_tokens(one_exchange_more) > budget


def test_a_long_newest_message_loses_its_middle() -> None:
    fitted = fit_to_window(
        [message("user", "old"), message("assistant", "old"), message("user", "a" * 50 + "b" * 50)], count_tokens, 20
    )
    assert fitted.messages == (message("user", "a" * 7 + " … " + "b" * 7),)
    assert (fitted.dropped, fitted.shortened) == (2, True)


@pytest.mark.parametrize(
    "messages", [[], [message("system", "Be kind.")], [message("system", "x" * 90), message("user", "hello")]]
)
def test_a_prompt_that_cannot_fit_is_refused(messages: list[ChatMessage]) -> None:
    with pytest.raises(ValueError, match=r"user message|cannot hold"):
        fit_to_window(messages, count_tokens, 20)
