"""Summaries of long conversations, and members' notes about themselves."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from storage.database.columns import utc_now
from storage.database.rows import changed_rows, from_row, read_all
from storage.database.tables import ConversationRow, ConversationSpeakerRow, MemberNoteRow
from storage.errors import NoteRefused

MAX_NOTES = 10
MAX_NOTE_CHARS = 120


@dataclass(frozen=True)
class Memory:
    """The bot's memory of the conversation in a channel."""

    summary: str = ""
    summarised_to: int = 0
    """ID of the last message that the summary covers."""
    forgotten_to: int = 0
    """Messages up to this ID are no longer part of the conversation."""
    speakers: frozenset[int] = frozenset()
    """The authors of the messages that the summary covers."""
    summarised_from: int = 0
    """ID of the first message that the summary covers."""

    @property
    def span(self) -> tuple[int, int] | None:
        """Return the IDs of the first and last message that the summary covers."""
        return (self.summarised_from, self.summarised_to) if self.summary else None

    @property
    def begins_after(self) -> int:
        """Return the ID of the message after which the conversation is read word for word."""
        return max(self.summarised_to, self.forgotten_to)


@dataclass(frozen=True)
class Note:
    id: int
    text: str
    created_at: datetime


def read_memory(session: Session, channel_id: int) -> Memory:
    row = session.get(ConversationRow, channel_id)
    if row is None:
        return Memory()
    speakers = select(ConversationSpeakerRow.user_id).where(ConversationSpeakerRow.channel_id == channel_id)
    return from_row(Memory, row, speakers=frozenset(session.scalars(speakers)))


def write_summary(session: Session, channel_id: int, before: Memory, after: Memory) -> bool:
    """Replace the summary; return False if the memory has changed or was forgotten since `before`."""
    if session.get(ConversationRow, channel_id) is None:
        session.add(ConversationRow(channel_id=channel_id))
        session.flush()
    written = session.execute(
        update(ConversationRow)
        .where(
            ConversationRow.channel_id == channel_id,
            ConversationRow.summarised_to == before.summarised_to,
            ConversationRow.forgotten_to == before.forgotten_to,
        )
        .values(
            summary=after.summary,
            summarised_from=after.summarised_from,
            summarised_to=after.summarised_to,
            updated_at=utc_now(),
        )
    )
    if changed_rows(written) != 1:
        return False
    known = read_memory(session, channel_id).speakers
    session.add_all(
        ConversationSpeakerRow(channel_id=channel_id, user_id=user) for user in sorted(after.speakers - known)
    )
    session.flush()
    return True


def forget_conversation(session: Session, channel_id: int, up_to: int) -> None:
    """Delete the summary, and exclude messages up to this ID from later prompts."""
    session.merge(
        ConversationRow(channel_id=channel_id, summary="", summarised_from=0, summarised_to=0, forgotten_to=up_to)
    )
    session.execute(delete(ConversationSpeakerRow).where(ConversationSpeakerRow.channel_id == channel_id))
    session.flush()


def add_note(session: Session, user_id: int, text: str) -> Note:
    """Store a member's note about themselves; raises NoteRefused if it is empty, too long, known or one too many."""
    said = " ".join(text.split())
    if not said:
        raise NoteRefused("that note is empty: write what I should know about you")
    if len(said) > MAX_NOTE_CHARS:
        raise NoteRefused(
            "that note has {chars} characters, but the limit is {limit}: shorten it",
            chars=len(said),
            limit=MAX_NOTE_CHARS,
        )
    notes = list_notes(session, user_id)
    if any(note.text.casefold() == said.casefold() for note in notes):
        raise NoteRefused("I already have that note")
    if len(notes) >= MAX_NOTES:
        raise NoteRefused(
            "you have {limit} notes, which is the limit: delete one first with `/me forget`", limit=MAX_NOTES
        )
    row = MemberNoteRow(user_id=user_id, text=said)
    session.add(row)
    session.flush()
    return from_row(Note, row)


def list_notes(session: Session, user_id: int) -> list[Note]:
    """Return the member's notes, oldest first."""
    notes = select(MemberNoteRow).where(MemberNoteRow.user_id == user_id)
    return read_all(session, Note, notes.order_by(MemberNoteRow.id))


def drop_notes(session: Session, user_id: int, number: int | None = None) -> int:
    """Delete the note with this number, counted from 1, or all notes; return how many were deleted."""
    notes = list_notes(session, user_id)
    chosen = notes if number is None else notes[number - 1 : number]
    gone = session.execute(delete(MemberNoteRow).where(MemberNoteRow.id.in_([note.id for note in chosen])))
    return changed_rows(gone)


def delete_memories(session: Session, user_id: int) -> tuple[int, int]:
    """Delete the member's notes and every summary that covers their words; return how many of each."""
    notes = drop_notes(session, user_id)
    summarised_in = select(ConversationSpeakerRow.channel_id).where(ConversationSpeakerRow.user_id == user_id)
    return notes, drop_summaries(session, session.scalars(summarised_in).all())


def drop_summaries(session: Session, channel_ids: Collection[int]) -> int:
    """Delete the summaries of the channels, and return how many there were.

    The summarised messages may still exist on Discord, but they are not read again.
    """
    for channel_id in channel_ids:
        forget_conversation(session, channel_id, read_memory(session, channel_id).begins_after)
    return len(channel_ids)
