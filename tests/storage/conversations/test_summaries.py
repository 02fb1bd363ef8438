"""Memory: summaries that two bots write, and their deletion."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.orm import Session

from storage.conversations.summaries import (
    Memory,
    forget_conversation,
    read_memory,
    write_summary,
)
from storage.privacy.erasure import delete_member
from tests.seeding import ALICE, BOB, CHANNEL

pytestmark = pytest.mark.both_databases

FIRST = Memory("They plan a picnic.", 50, 0, frozenset({ALICE, BOB}))


def test_a_summary_continues_the_previous_one(session: Session) -> None:
    assert read_memory(session, CHANNEL) == Memory()
    assert write_summary(session, CHANNEL, Memory(), FIRST)
    assert read_memory(session, CHANNEL) == FIRST
    second = Memory("The picnic is on Sunday.", 80, 0, frozenset({ALICE, BOB, 103}))
    assert write_summary(session, CHANNEL, FIRST, second)
    assert read_memory(session, CHANNEL) == second


def test_the_later_of_two_writers_changes_nothing(session: Session) -> None:
    write_summary(session, CHANNEL, Memory(), FIRST)
    assert not write_summary(session, CHANNEL, Memory(), replace(FIRST, summary="Other.", summarised_to=40))
    assert read_memory(session, CHANNEL) == FIRST


def test_messages_forgotten_during_a_summary_stay_forgotten(session: Session) -> None:
    write_summary(session, CHANNEL, Memory(), FIRST)
    forget_conversation(session, CHANNEL, 90)
    assert not write_summary(session, CHANNEL, FIRST, replace(FIRST, summarised_to=80))
    memory = read_memory(session, CHANNEL)
    assert (memory.summary, memory.begins_after, memory.speakers) == ("", 90, frozenset())


def test_deleting_a_member_deletes_their_summaries(session: Session) -> None:
    write_summary(session, CHANNEL, Memory(), FIRST)
    write_summary(session, 12, Memory(), replace(FIRST, speakers=frozenset({BOB})))
    assert delete_member(session, ALICE).summaries == 1
    memory = read_memory(session, CHANNEL)
    assert (memory.summary, memory.begins_after, memory.speakers) == ("", 50, frozenset())
    assert read_memory(session, 12).summary == FIRST.summary


@given(st.integers(0, 100), st.integers(0, 100))
def test_a_conversation_begins_after_what_is_summarised_and_what_is_forgotten(summarised: int, forgotten: int) -> None:
    begins = Memory("", summarised, forgotten).begins_after
    assert begins >= summarised
    assert begins >= forgotten
