"""The order in which arenas use the prompts of the bank, and how they are rendered."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from bot.arenas.prompts import bank_messages, order_by_use
from bot.chat.prompting import Turn, to_messages
from storage.conversations.prompt_bank import parse_bank
from tests.storage.conversations.test_prompt_bank import texts

NOON = datetime(2026, 11, 4, 12, tzinfo=UTC)


def test_unused_prompts_come_first_then_the_least_recently_used() -> None:
    prompts = parse_bank("a\nb\nc\nd", "a file").prompts
    used = {"a": NOON, "b": NOON - timedelta(days=2), "d": NOON - timedelta(days=1)}
    assert texts(order_by_use(prompts, used, random.Random(1))) == ["c", "b", "d", "a"]


def test_unused_prompts_come_in_random_order() -> None:
    prompts = parse_bank("a\nb\nc\nd", "a file").prompts
    firsts = {order_by_use(prompts, {}, random.Random(seed))[0].text for seed in range(50)}
    assert firsts == {"a", "b", "c", "d"}


@given(asked=st.integers(0, 30), seed=st.integers(0, 10))
def test_no_prompt_is_repeated_before_all_others_were_used(asked: int, seed: int) -> None:
    prompts = parse_bank("a\nb\nc\nd\ne", "a file").prompts
    used: dict[str, datetime] = {}
    history = []
    for i in range(asked):
        prompt = order_by_use(prompts, used, random.Random(seed + i))[0].text
        used[prompt] = NOON + timedelta(minutes=i)
        history.append(prompt)
    for start in range(len(history) - len(prompts) + 1):
        assert len(set(history[start : start + len(prompts)])) == len(prompts)


def test_a_prompt_is_rendered_as_chat_renders_a_message_without_a_name() -> None:
    of_chat = to_messages("Be brief.", [Turn("ada", "Why?")])
    assert of_chat[0]["content"] == "Be brief.\nYou are talking with ada."
    assert bank_messages("Be brief.", "Why?") == [{"role": "system", "content": "Be brief."}, of_chat[1]]
    assert bank_messages("  ", "Why?") == [of_chat[1]]
