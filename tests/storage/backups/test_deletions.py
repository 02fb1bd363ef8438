"""A restored backup brings back nothing that people deleted or took back since it was made."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select, update
from sqlalchemy.orm import InstrumentedAttribute, Session

from storage.backups.backup import make_backup, restore_backup
from storage.backups.deletions import AS_THEY_ARE, TAKEN_BACK
from storage.conversations.summaries import Memory, write_summary
from storage.database.columns import Fate, utc_now
from storage.database.enums import Basis, Cause, DocumentKind, QuarantineRule, Scope
from storage.database.tables import (
    Base,
    BindingRow,
    ConsentRow,
    ConversationRow,
    CorrectionRow,
    DepartureRow,
    DocumentRow,
    DocumentSpeakerRow,
    MemberNoteRow,
    MemberRow,
    NoteOptOutRow,
    OptOutRow,
    PseudonymKeyRow,
    ReplyRow,
    ReplySourceRow,
    VersionRow,
    VoteEventRow,
)
from storage.knowledge.documents import remove_document
from storage.members import greet, note_members
from storage.memory import add_note, allow_questions, note_question
from storage.operations.console_sessions import begin_session
from storage.personalities.bindings import BindingPlace, bind
from storage.personalities.personalities import ensure_personality, read_personality
from storage.privacy.consent import give_consent, withdraw_consent
from storage.privacy.erasure import (
    delete_member,
    erase_messages,
    forget_notes,
    note_edit,
)
from storage.privacy.ownership import naming_members
from storage.privacy.retention import complete_departure, departed_before, note_departure
from storage.settings.sections import Settings
from storage.sittings.sittings import begin_sitting
from storage.votes.comparisons import Better, compare
from storage.votes.corrections import give_cause, suggest, withdraw
from storage.votes.votes import Vote
from tests.past import quarantine
from tests.seeding import ALICE, BOB, add_reply, message_of, vote
from tests.storage.backups.test_backup import place, quietly, within
from tests.storage.knowledge.test_documents import add as add_document
from tests.storage.privacy.test_consent import train_on

__all__ = ["place"]  # a fixture
HOME, ELSEWHERE = 71, 72
QUESTION = 5_000
SUMMARISED = 300
Place = Callable[..., Settings]


def live(session: Session) -> None:
    """ALICE asks, is remembered, votes, suggests, labels and signs in; answer 1 is to her, answer 2 to BOB."""
    whose = ensure_personality(session)
    own = add_reply(session, guild_id=HOME, basis=Basis.LIVE_CHAT)
    session.add(ReplySourceRow(reply_id=own, message_id=QUESTION, user_id=ALICE))
    other = add_reply(session, speakers=[BOB], author_id=BOB, guild_id=HOME)
    third = add_reply(session, speakers=[BOB], author_id=BOB, guild_id=HOME)
    add_reply(session, speakers=[BOB], author_id=BOB, guild_id=ELSEWHERE, channel_id=12)
    vote(session, other, ALICE, Vote.DOWN)
    give_cause(session, other, ALICE, Cause.WRONG_FACT)
    compare(session, other, third, ALICE, Better.FIRST)
    suggest(session, other, ALICE, "better", Basis.LIVE_CHAT)
    quarantine(session, 0, [(other, ALICE)], rule=QuarantineRule.AUTHOR, subject_id=ALICE)
    add_note(session, ALICE, HOME, "likes tea")
    add_note(session, BOB, HOME, "likes coffee")
    note_question(session, ALICE, "I keep bees")
    begin_sitting(session, whose, ALICE)
    begin_session(session, ALICE, "alice")
    greet(session, ALICE)
    give_consent(session, ALICE)
    note_members(session, HOME, {ALICE: utc_now(), BOB: utc_now()})
    note_members(session, ELSEWHERE, {ALICE: utc_now()})
    write_summary(session, SUMMARISED, Memory(), Memory("they spoke", 9, 0, frozenset({ALICE}), 1))
    bind(
        session, BindingPlace(Scope.CHANNEL, 11), read_personality(session, whose), guild_id=HOME, strength=1.0, by="x"
    )
    of_alice = {"kind": DocumentKind.MESSAGE, "speakers": [ALICE], "sources": {QUESTION: 11}}
    add_document(session, "what ALICE said", title="What ALICE said", guild_id=HOME, **of_alice)
    train_on(session, [(other, third, None)])


def complete_departures(session: Session) -> None:
    for departure in departed_before(session, utc_now()):
        complete_departure(session, departure)


def leave(session: Session, user_id: int = ALICE) -> None:
    note_departure(session, HOME, user_id)
    session.flush()
    complete_departures(session)


def rows(session: Session, column: InstrumentedAttribute[Any], *where: Any) -> list[Any]:
    return sorted(session.scalars(select(column).where(*where)), key=repr)


@dataclass(frozen=True)
class Case:
    """Something that is taken back after a backup, and where it would be seen again."""

    take_back: Callable[[Session], Any]
    seen: Callable[[Session], Any]


def marked(session: Session) -> list[bool]:
    return rows(session, VersionRow.trained_on_deleted_data)


def named(session: Session) -> dict[str, int]:
    """Return how many rows name ALICE, by column."""
    return {
        str(named): session.scalar(select(func.count()).where(named.column == ALICE)) or 0 for named in naming_members()
    }


CASES = {
    "a note": Case(lambda s: forget_notes(s, ALICE, HOME), lambda s: rows(s, MemberNoteRow.text)),
    "a message": Case(
        lambda s: erase_messages(s, 11, {QUESTION}), lambda s: (rows(s, ReplyRow.id), rows(s, DocumentRow.title))
    ),
    "an answer": Case(lambda s: erase_messages(s, 11, {message_of(2)}), lambda s: (rows(s, ReplyRow.id), marked(s))),
    "an edited message": Case(
        lambda s: note_edit(s, 11, QUESTION, utc_now() + timedelta(seconds=1)),
        lambda s: (rows(s, ReplyRow.basis), rows(s, ReplyRow.edited_at)),
    ),
    "a suggestion": Case(lambda s: withdraw(s, 1, ALICE), lambda s: rows(s, CorrectionRow.withdrawn_at)),
    "a document": Case(
        lambda s: remove_document(s, HOME, 1),
        lambda s: [rows(s, column) for column in (DocumentRow.title, DocumentRow.text, DocumentSpeakerRow.user_id)],
    ),
    "a departure of a member": Case(leave, named),
    "a departure that has begun": Case(
        lambda s: note_departure(s, HOME, ALICE), lambda s: rows(s, DepartureRow.left_at)
    ),
    "a departure of the bot": Case(
        lambda s: leave(s, 0),
        lambda s: [rows(s, table.guild_id) for table in (ReplyRow, BindingRow, MemberRow)],
    ),
    "a deletion": Case(lambda s: delete_member(s, ALICE), lambda s: (named(s), marked(s))),
    "an opt-out": Case(
        lambda s: withdraw_consent(s, ALICE), lambda s: [rows(s, table.user_id) for table in (OptOutRow, ConsentRow)]
    ),
    "never to be asked": Case(
        lambda s: allow_questions(s, ALICE, allowed=False), lambda s: rows(s, NoteOptOutRow.user_id)
    ),
    "a summary": Case(lambda s: erase_messages(s, SUMMARISED, {5}), lambda s: rows(s, ConversationRow.summary)),
}


TOGETHER = ("a note", "a suggestion", "a document", "an opt-out", "never to be asked", "a summary")
"""Cases that change different rows, so that none hides another one."""


@pytest.fixture(params=["sqlite", "postgresql"])
def settings(request: pytest.FixtureRequest, place: Place) -> Settings:
    settings = place(request.param)
    within(settings, live)
    return settings


@pytest.fixture
def file(settings: Settings, tmp_path: Path) -> Path:
    make_backup(settings, tmp_path / "backup.tar.gz", quietly)
    return tmp_path / "backup.tar.gz"


def see(settings: Settings, names: Collection[str]) -> dict[str, Any]:
    return within(settings, lambda session: {name: CASES[name].seen(session) for name in names})


@pytest.mark.parametrize("names", [TOGETHER, *((name,) for name in CASES if name not in TOGETHER)], ids=", ".join)
def test_what_was_taken_back_stays_so(settings: Settings, file: Path, names: Collection[str]) -> None:
    before = see(settings, names)
    within(settings, lambda session: [CASES[name].take_back(session) for name in names])
    now = see(settings, names)
    assert [name for name in names if now[name] == before[name]] == []
    restore_backup(settings, file, quietly, replace=True)
    assert see(settings, names) == now


@pytest.mark.both_databases
def test_of_each_table_that_names_members_no_deleted_row_comes_back(settings: Settings, file: Path) -> None:
    """However it was deleted: a new table fails here until a restore leaves its deleted rows out."""
    gone: set[type[Base]] = {ReplyRow, *(table for table, _ in naming_members(Fate.GONE))}

    def empty(session: Session) -> None:
        for table in gone:
            session.query(table).delete()

    within(settings, empty)
    restore_backup(settings, file, quietly, replace=True)
    assert within(settings, lambda session: {t.__tablename__ for t in gone if session.query(t).count()}) == set()


def test_a_restore_keeps_the_present_state_of_each_column_that_names_a_member_in_a_row_that_stays() -> None:
    """A new opt-out, say, fails here until a restore does not undo it."""
    undone = {
        str(named)
        for named in naming_members(Fate.KEPT, Fate.UNNAMED, Fate.SPEAKS)
        if named.table not in AS_THEY_ARE and named.column.key not in TAKEN_BACK.get(named.table, ())
    }
    assert undone == {"audit.actor_id", "reply_speakers.user_id", "document_speakers.user_id"}


@pytest.mark.both_databases
def test_what_nobody_deleted_is_all_back(settings: Settings, file: Path) -> None:
    everything = within(settings, count_rows)
    within(settings, lambda session: session.execute(update(ReplyRow).values(answer="defaced")))
    restored = restore_backup(settings, file, quietly, replace=True)
    assert (restored.kept_deletions, restored.deleted_rows) == (0, 0)
    assert within(settings, count_rows) == everything
    assert "defaced" not in within(settings, lambda session: rows(session, ReplyRow.answer))


def count_rows(session: Session) -> dict[str, int]:
    return {mapper.class_.__tablename__: session.query(mapper.class_).count() for mapper in Base.registry.mappers}


@pytest.mark.both_databases
def test_a_note_with_the_id_of_a_deleted_one_does_not_bring_that_back(settings: Settings, file: Path) -> None:
    within(settings, lambda session: forget_notes(session, BOB, HOME))
    within(settings, lambda session: add_note(session, BOB, HOME, "likes water"))
    restore_backup(settings, file, quietly, replace=True)
    assert within(settings, lambda session: rows(session, MemberNoteRow.text)) == ["likes tea"]


@pytest.mark.both_databases
def test_a_restore_that_is_undone_loses_nothing(settings: Settings, file: Path) -> None:
    """What came after the older backup was never deleted: the database of then never had it."""
    within(settings, lambda session: add_reply(session, answer="later", guild_id=ELSEWHERE + 1))
    within(settings, lambda session: vote(session, 2, BOB, Vote.UP))
    before = within(settings, lambda session: (rows(session, ReplyRow.answer), rows(session, VoteEventRow.user_id)))
    saved = restore_backup(settings, file, quietly, replace=True).saved
    within(settings, lambda session: forget_notes(session, ALICE, HOME))
    restore_backup(settings, saved, quietly, replace=True)
    after = within(settings, lambda session: (rows(session, ReplyRow.answer), rows(session, VoteEventRow.user_id)))
    assert after == before
    assert within(settings, lambda session: rows(session, MemberNoteRow.text)) == ["likes coffee"]


@pytest.mark.both_databases
def test_a_database_that_is_another_one_only_tells_what_members_asked_for(
    settings: Settings, file: Path, place: Place
) -> None:
    """A bot that ran for an hour after its disk was lost must not empty its last backup."""
    new = place()
    within(new, lambda session: session.execute(update(PseudonymKeyRow).values(key=b"made with its schema")))
    within(new, lambda session: delete_member(session, ALICE))
    within(new, lambda session: withdraw_consent(session, ALICE))
    within(new, lambda session: allow_questions(session, BOB, allowed=False))
    restore_backup(new, file, quietly, replace=True)
    assert within(new, lambda session: rows(session, ReplyRow.id)) == [2, 3, 4]
    assert within(new, lambda session: rows(session, MemberNoteRow.text)) == ["likes coffee"]
    assert within(new, lambda session: rows(session, OptOutRow.user_id)) == [ALICE]
    assert within(new, lambda session: rows(session, NoteOptOutRow.user_id)) == [BOB]
