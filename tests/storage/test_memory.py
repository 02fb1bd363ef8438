"""Notes belong to a member in a place, have limits, and are deleted with the answers that used them."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from storage.conversations.replies import Sources, find_reply
from storage.database.columns import utc_now
from storage.database.tables import FactQuestionRow, MemberNoteRow, ReplyRow
from storage.errors import NoteRefused
from storage.memory import (
    MAX_NOTE_CHARS,
    MAX_NOTES,
    add_note,
    allow_questions,
    list_notes,
    may_ask,
    note_question,
    still_exist,
)
from storage.privacy.erasure import delete_member, erase_guild, erase_member_in, forget_notes
from storage.privacy.member_data import export_member, summarize_member_data
from storage.privacy.ownership import known_guilds, known_members
from tests.seeding import ALICE, BOB
from tests.storage.privacy.test_consent import marked, train_on
from tests.storage.privacy.test_erasure import ELSEWHERE, HOME, add_answer, kept

BEES = "I keep bees"


def texts(session: Session, user_id: int = ALICE, guild_id: int | None = HOME) -> list[str]:
    return [note.text for note in list_notes(session, user_id, guild_id)]


def test_notes_are_kept_in_order_and_forgotten_by_the_moment_they_were_made(session: Session) -> None:
    said = ("likes  tea\n", "plays chess", "has a cat")
    made_at = [add_note(session, ALICE, HOME, text).created_at for text in said]
    add_note(session, BOB, HOME, "likes tea")
    assert texts(session) == ["likes tea", "plays chess", "has a cat"]
    assert forget_notes(session, ALICE, HOME, made_at[1:2]).notes == 1
    assert forget_notes(session, ALICE, HOME, made_at[1:2]).notes == 0
    assert texts(session) == ["likes tea", "has a cat"]
    assert forget_notes(session, ALICE, HOME).notes == 2
    assert (texts(session), texts(session, BOB)) == ([], ["likes tea"])


def test_a_note_is_used_only_where_it_was_given(session: Session) -> None:
    for guild_id, text in ((HOME, "at home"), (ELSEWHERE, "elsewhere"), (None, "in private")):
        add_note(session, ALICE, guild_id, text)
    assert [texts(session, ALICE, place) for place in (HOME, ELSEWHERE, None)] == [
        ["at home"],
        ["elsewhere"],
        ["in private"],
    ]
    forget_notes(session, ALICE, HOME)
    assert summarize_member_data(session, ALICE).notes == 2
    assert {note["server"] for note in export_member(session, ALICE)["notes"]} == {str(ELSEWHERE), None}


def test_a_note_without_a_server_is_used_everywhere(session: Session) -> None:
    """As earlier programs kept them."""
    session.add(MemberNoteRow(user_id=ALICE, text=BEES))
    assert [texts(session, ALICE, place) for place in (HOME, ELSEWHERE, None)] == [[BEES]] * 3


@pytest.mark.parametrize(
    ("note", "said"), [(" \n", "is empty"), ("x" * (MAX_NOTE_CHARS + 1), "121 characters"), ("Likes TEA", "already")]
)
def test_a_note_that_is_empty_long_or_known_is_refused(session: Session, note: str, said: str) -> None:
    add_note(session, ALICE, HOME, "likes tea")
    with pytest.raises(NoteRefused, match=said):
        add_note(session, ALICE, HOME, note)
    assert texts(session) == ["likes tea"]


def test_notes_have_a_limit_in_each_place(session: Session) -> None:
    for number in range(MAX_NOTES):
        add_note(session, ALICE, HOME, f"fact {number}")
    with pytest.raises(NoteRefused, match="delete one first"):
        add_note(session, ALICE, HOME, "one more")
    add_note(session, ALICE, ELSEWHERE, "one more")


def test_forgetting_a_note_deletes_the_answers_that_used_it_and_marks_what_learned_from_them(session: Session) -> None:
    first, second = (add_note(session, ALICE, HOME, text) for text in (BEES, "likes tea"))
    bees, tea = first.id, second.id
    used = add_answer(session, Sources(notes=frozenset({bees, tea})))
    other = add_answer(session, Sources(notes=frozenset({tea})))
    assert find_reply(session, other).sources.notes == {tea}
    version = train_on(session, [(used, other, None)])
    deleted = forget_notes(session, ALICE, HOME, [first.created_at])
    assert (deleted.notes, deleted.replies, deleted.marked) == (1, 1, (version.name,))
    assert kept(session) == {other}
    assert marked(session) == {version.name}


def test_an_answer_cannot_begin_with_a_note_that_is_gone(session: Session) -> None:
    bees = add_note(session, ALICE, HOME, BEES).id
    assert still_exist(session, {bees})
    forget_notes(session, ALICE, HOME)
    assert not still_exist(session, {bees})
    add_note(session, BOB, HOME, "likes tea")
    assert not still_exist(session, {bees})


def test_notes_go_with_their_member_and_their_server(session: Session) -> None:
    for guild_id in (HOME, ELSEWHERE, None):
        add_note(session, ALICE, guild_id, BEES)
        add_note(session, BOB, guild_id, BEES)
    assert (known_members(session, HOME), known_guilds(session)) == ({ALICE, BOB}, {HOME, ELSEWHERE})
    erase_member_in(session, HOME, ALICE, left_at=utc_now())
    assert [texts(session, ALICE, place) for place in (HOME, ELSEWHERE, None)] == [[], [BEES], [BEES]]
    erase_guild(session, ELSEWHERE)
    assert [texts(session, BOB, place) for place in (HOME, ELSEWHERE, None)] == [[BEES], [], [BEES]]
    assert delete_member(session, BOB).notes == 2


def test_a_member_is_asked_once_a_day_once_for_each_fact_and_never_if_they_said_so(session: Session) -> None:
    def may(fact: str, *, is_requested: bool = False, user_id: int = ALICE) -> bool:
        return may_ask(session, user_id, fact, is_requested=is_requested)

    assert may(BEES)
    note_question(session, ALICE, BEES)
    assert not may("I play chess")
    assert may("I play chess", user_id=BOB)
    assert may(BEES, is_requested=True)
    session.execute(update(FactQuestionRow).values(asked_at=utc_now() - timedelta(days=2)))
    assert may("I play chess")
    assert not may("bees, I keep!"), "the words are the same"
    note_question(session, ALICE, BEES)
    assert len(export_member(session, ALICE)["fact_questions"]) == 1
    allow_questions(session, ALICE, allowed=False)
    delete_member(session, ALICE)
    assert not may("I collect stamps", is_requested=True), "the wish outlives the deletion"
    allow_questions(session, ALICE, allowed=True)
    assert may(BEES)


def test_no_word_of_a_question_is_stored(session: Session) -> None:
    note_question(session, ALICE, BEES)
    note_question(session, BOB, BEES)
    rows = session.scalars(select(FactQuestionRow)).all()
    assert len({row.digest for row in rows}) == 2
    assert not any("bees" in row.digest for row in rows)
    assert session.scalars(select(ReplyRow)).all() == []
