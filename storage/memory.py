"""Members' notes about themselves, and the questions they were asked: each member's own in each server."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Select, delete, or_, select
from sqlalchemy.orm import Session

from storage.database.columns import utc_now
from storage.database.rows import any_row, changed_rows, count_rows, from_row, read_all
from storage.database.tables import FactQuestionRow, MemberNoteRow, NoteOptOutRow, ReplyNoteRow
from storage.errors import NoteRefused
from storage.knowledge.words import content_words
from storage.members import DIRECT, read_pseudonyms

MAX_NOTES = 20
"""Maximum number of notes of a member in one server, or in direct messages."""
MAX_NOTE_CHARS = 120
PAUSE = timedelta(days=1)
"""Pause after a question to a member before the next one."""


@dataclass(frozen=True)
class Note:
    id: int
    text: str
    created_at: datetime


def add_note(session: Session, user_id: int, guild_id: int | None, text: str) -> Note:
    """Store a member's note about themselves; raises NoteRefused if it is empty, too long, known or one too many.

    Without a server it belongs to direct messages.
    """
    said = " ".join(text.split())
    if not said:
        raise NoteRefused("that note is empty: write what I should know about you")
    if len(said) > MAX_NOTE_CHARS:
        raise NoteRefused(
            "that note has {length} characters, but the limit is {limit}: shorten it",
            length=len(said),
            limit=MAX_NOTE_CHARS,
        )
    notes = list_notes(session, user_id, guild_id)
    if any(note.text.casefold() == said.casefold() for note in notes):
        raise NoteRefused("I already have that note")
    if len(notes) >= MAX_NOTES:
        raise NoteRefused("you have {limit} notes, which is the limit: delete one first in `/me show`", limit=MAX_NOTES)
    row = MemberNoteRow(user_id=user_id, guild_id=guild_id or DIRECT, text=said)
    session.add(row)
    session.flush()
    return from_row(Note, row)


def list_notes(session: Session, user_id: int, guild_id: int | None) -> list[Note]:
    """Return the member's notes that are used there, oldest first."""
    used = or_(MemberNoteRow.guild_id == (guild_id or DIRECT), MemberNoteRow.guild_id.is_(None))
    notes = select(MemberNoteRow).where(MemberNoteRow.user_id == user_id, used)
    return read_all(session, Note, notes.order_by(MemberNoteRow.id))


def still_exist(session: Session, note_ids: Collection[int]) -> bool:
    """Return whether all of the notes still exist."""
    notes = select(MemberNoteRow.id).where(MemberNoteRow.id.in_(note_ids))
    return count_rows(session, notes) == len(set(note_ids))


def delete_notes(session: Session, note_ids: Select[int] | Collection[int]) -> int:
    """Delete notes and return their number; the caller deletes the answers whose prompts held them."""
    return changed_rows(session.execute(delete(MemberNoteRow).where(MemberNoteRow.id.in_(note_ids))))


def replies_with_notes(note_ids: Select[int] | Collection[int]) -> Select[int]:
    """Select the answers whose prompts held one of the notes."""
    return select(ReplyNoteRow.reply_id).where(ReplyNoteRow.note_id.in_(note_ids))


# Questions


def may_ask(session: Session, user_id: int, fact: str, *, is_requested: bool) -> bool:
    """Return whether the member may be asked to keep a fact: once for each, once a day, and never if they refused.

    A member who requests it is asked again.
    """
    if session.get(NoteOptOutRow, user_id) is not None:
        return False
    asked = select(FactQuestionRow.digest).where(FactQuestionRow.user_id == user_id)
    is_known = FactQuestionRow.digest == _digest(session, user_id, fact)
    is_recent = FactQuestionRow.asked_at > utc_now() - PAUSE
    return is_requested or not any_row(session, asked.where(or_(is_known, is_recent)))


def note_question(session: Session, user_id: int, fact: str) -> None:
    """Record that the member was asked to keep a fact, without its words."""
    session.merge(FactQuestionRow(user_id=user_id, digest=_digest(session, user_id, fact), asked_at=utc_now()))
    session.flush()


def allow_questions(session: Session, user_id: int, *, allowed: bool) -> None:
    """Record whether the member wants to be asked."""
    if allowed:
        session.execute(delete(NoteOptOutRow).where(NoteOptOutRow.user_id == user_id))
    else:
        session.merge(NoteOptOutRow(user_id=user_id))


def are_questions_allowed(session: Session, user_id: int) -> bool:
    return session.get(NoteOptOutRow, user_id) is None


def _digest(session: Session, user_id: int, fact: str) -> str:
    """Return a digest that recognises the fact in any order of its words."""
    said = " ".join(sorted(content_words(fact))) or fact.casefold()
    return read_pseudonyms(session).seal(f"{user_id} {said}")
