"""People's own prompts are stored once, and come before those of the bank."""

from __future__ import annotations

from datetime import timedelta
from random import Random

import pytest
from sqlalchemy.orm import Session

from storage.conversations.prompt_bank import parse_bank
from storage.database.columns import utc_now
from storage.sittings.prompts import add_prompts, order_prompts, read_prompts, remove_prompts

pytestmark = pytest.mark.both_databases

BANK = parse_bank("tea?\nrain?\nhello", "a file")


def test_a_prompt_is_stored_once(session: Session, personality_id: int) -> None:
    assert add_prompts(session, personality_id, ["Who are you?", "Cats or dogs?"], "grace") == 2
    assert add_prompts(session, personality_id, ["who  are you?", "Tea?"], "ada") == 1
    assert add_prompts(session, personality_id, [], "ada") == 0
    found = read_prompts(session, personality_id, 2)
    assert (found.texts, found.total) == (("Tea?", "Cats or dogs?"), 3)
    assert remove_prompts(session, personality_id) == 3
    assert read_prompts(session, personality_id).texts == ()


def test_a_long_list_is_stored_whole(session: Session, personality_id: int) -> None:
    assert add_prompts(session, personality_id, [f"prompt {i}" for i in range(7_001)], "grace") == 7_001


def test_own_prompts_come_first_and_used_ones_last() -> None:
    moment = utc_now()
    used = {"mine": moment, "tea?": moment - timedelta(days=1)}
    order = order_prompts(["mine", "mine too"], BANK, used, Random(0))
    assert order[0] == "mine too"
    assert set(order[1:3]) == {"rain?", "hello"}
    assert order[3:] == ["tea?", "mine"]


def test_a_prompt_that_the_bank_has_too_is_asked_once() -> None:
    assert sorted(order_prompts(["tea?"], BANK, {}, Random(0))) == ["hello", "rain?", "tea?"]
