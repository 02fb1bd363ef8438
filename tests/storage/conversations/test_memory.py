"""Memory: summaries that two bots write, notes with limits, and deletion of both."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.orm import Session

from storage.conversations.memory import (
    MAX_NOTE_CHARS,
    MAX_NOTES,
    Memory,
    add_note,
    drop_notes,
    forget_conversation,
    list_notes,
    read_memory,
    write_summary,
)
from storage.errors import NoteRefused
from storage.privacy.erasure import delete_member
from tests.seeding import ALICE, BOB, CHANNEL

FIRST = Memory("They plan a picnic.", 50, 0, frozenset({ALICE, BOB}))


def texts(session: Session, user_id: int = ALICE) -> list[str]:
    return [note.text for note in list_notes(session, user_id)]


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


def test_notes_are_kept_in_order_and_dropped_by_their_place(session: Session) -> None:
    for text in ("likes  tea\n", "plays chess", "has a cat"):
        add_note(session, ALICE, text)
    add_note(session, BOB, "likes tea")
    assert texts(session) == ["likes tea", "plays chess", "has a cat"]
    assert drop_notes(session, ALICE, 2) == 1
    assert drop_notes(session, ALICE, 9) == 0
    assert texts(session) == ["likes tea", "has a cat"]
    assert drop_notes(session, ALICE) == 2
    assert (texts(session), texts(session, BOB)) == ([], ["likes tea"])


@pytest.mark.parametrize(
    ("note", "said"), [(" \n", "is empty"), ("x" * (MAX_NOTE_CHARS + 1), "121 characters"), ("Likes TEA", "already")]
)
def test_a_note_that_is_empty_long_or_known_is_refused(session: Session, note: str, said: str) -> None:
    add_note(session, ALICE, "likes tea")
    with pytest.raises(NoteRefused, match=said):
        add_note(session, ALICE, note)
    assert texts(session) == ["likes tea"]


def test_notes_have_a_limit(session: Session) -> None:
    for number in range(MAX_NOTES):
        add_note(session, ALICE, f"fact {number}")
    with pytest.raises(NoteRefused, match="delete one first"):
        add_note(session, ALICE, "one more")


def test_deleting_a_member_deletes_their_notes_and_summaries(session: Session) -> None:
    add_note(session, ALICE, "likes tea")
    write_summary(session, CHANNEL, Memory(), FIRST)
    write_summary(session, 12, Memory(), replace(FIRST, speakers=frozenset({BOB})))
    gone = delete_member(session, ALICE)
    assert (gone.notes, gone.summaries, texts(session)) == (1, 1, [])
    memory = read_memory(session, CHANNEL)
    assert (memory.summary, memory.begins_after, memory.speakers) == ("", 50, frozenset())
    assert read_memory(session, 12).summary == FIRST.summary


@given(st.integers(0, 100), st.integers(0, 100))
def test_a_conversation_begins_after_what_is_summarised_and_what_is_forgotten(summarised: int, forgotten: int) -> None:
    begins = Memory("", summarised, forgotten).begins_after
    assert begins >= summarised
    assert begins >= forgotten
