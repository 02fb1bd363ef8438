"""People's own prompts are stored once, and come before those of the bank."""

from __future__ import annotations

from datetime import timedelta
from random import Random

import pytest
from sqlalchemy import update
from sqlalchemy.orm import Session

from storage.conversations.prompt_bank import parse_bank
from storage.database.columns import utc_now
from storage.database.tables import ReplyRow
from storage.sittings.prompts import USED_LATELY, add_prompts, prompts_left, read_prompts, remove_prompts
from storage.sittings.sittings import begin_sitting
from tests.seeding import ALICE, BOB
from tests.storage.sittings.test_sittings import draw, repeat_last_pair

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


def test_own_prompts_come_before_the_banks_and_none_twice(session: Session, personality_id: int) -> None:
    add_prompts(session, personality_id, ["mine", "tea?"], "grace")
    sitting = begin_sitting(session, personality_id, ALICE)
    order = prompts_left(session, sitting, BANK, Random(0))
    assert (set(order[:2]), set(order[2:])) == ({"mine", "tea?"}, {"rain?", "hello"})


def test_what_others_were_asked_comes_last_and_what_the_person_was_asked_not_at_all(
    session: Session, personality_id: int
) -> None:
    add_prompts(session, personality_id, ["mine"], "grace")
    sitting, other = (begin_sitting(session, personality_id, person) for person in (ALICE, BOB))
    draw(session, other, "mine", "tea?")
    session.execute(update(ReplyRow).where(ReplyRow.answer == "tea? yes").values(created_at=utc_now() - timedelta(1)))
    draw(session, sitting, "hello")
    assert prompts_left(session, sitting, BANK, Random(0)) == ["rain?", "tea?", "mine"]


def test_what_was_asked_long_ago_may_come_first_again(session: Session, personality_id: int) -> None:
    add_prompts(session, personality_id, ["mine"], "grace")
    draw(session, begin_sitting(session, personality_id, BOB), "mine", "tea?")
    session.flush()
    repeat_last_pair(session, USED_LATELY)
    order = prompts_left(session, begin_sitting(session, personality_id, ALICE), BANK, Random(0))
    assert (order[0], order[-1]) == ("mine", "tea?")
