"""What is remembered beside replies: summaries of long conversations, and members' notes about themselves."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from storage.database.columns import utc_now
from storage.database.rows import changed_rows, from_row
from storage.database.tables import ConversationRow, ConversationSpeakerRow, MemberNoteRow
from storage.errors import NoteRefused

MAX_NOTES = 10
MAX_NOTE_CHARS = 120


@dataclass(frozen=True)
class Memory:
    """What is remembered of the conversation in a channel."""

    summary: str = ""
    summarised_to: int = 0
    """Id of the last message that the summary covers."""
    forgotten_to: int = 0
    """Messages up to this id are no part of the conversation any more."""
    speakers: frozenset[int] = frozenset()
    """The people whose words the summary tells."""
    summarised_from: int = 0
    """Id of the first message that it covers."""

    @property
    def span(self) -> tuple[int, int] | None:
        """Return the first and the last id of the messages that the summary tells."""
        return (self.summarised_from, self.summarised_to) if self.summary else None

    @property
    def begins_after(self) -> int:
        """Return the id of the message after which the conversation is read word for word."""
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
    return Memory(
        summary=row.summary,
        summarised_from=row.summarised_from,
        summarised_to=row.summarised_to,
        forgotten_to=row.forgotten_to,
        speakers=frozenset(session.scalars(speakers)),
    )


def write_summary(session: Session, channel_id: int, before: Memory, after: Memory) -> bool:
    """Replace what is remembered of the conversation; return False where it was changed or forgotten since `before`."""
    row = session.get(ConversationRow, channel_id)
    if row is None:
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
    """Drop the summary, and leave messages up to the id out of what comes."""
    session.merge(
        ConversationRow(channel_id=channel_id, summary="", summarised_from=0, summarised_to=0, forgotten_to=up_to)
    )
    session.execute(delete(ConversationSpeakerRow).where(ConversationSpeakerRow.channel_id == channel_id))
    session.flush()


def add_note(session: Session, user_id: int, text: str) -> Note:
    """Keep a note of a member about themselves; raises NoteRefused on an empty, long, known or eleventh one."""
    said = " ".join(text.split())
    if not said:
        raise NoteRefused("that note is empty: write what I should know about you")
    if len(said) > MAX_NOTE_CHARS:
        raise NoteRefused(f"that note has {len(said)} characters, but the limit is {MAX_NOTE_CHARS}: shorten it")
    notes = list_notes(session, user_id)
    if any(note.text.casefold() == said.casefold() for note in notes):
        raise NoteRefused("I already have that note")
    if len(notes) >= MAX_NOTES:
        raise NoteRefused(f"you have {MAX_NOTES} notes, which is the limit: delete one first with `/me forget`")
    row = MemberNoteRow(user_id=user_id, text=said)
    session.add(row)
    session.flush()
    return from_row(Note, row)


def list_notes(session: Session, user_id: int) -> list[Note]:
    """Return the member's notes, oldest first."""
    rows = session.scalars(select(MemberNoteRow).where(MemberNoteRow.user_id == user_id).order_by(MemberNoteRow.id))
    return [from_row(Note, row) for row in rows]


def drop_notes(session: Session, user_id: int, number: int | None = None) -> int:
    """Drop the note at a place in the list, from 1, or all of them; return how many went."""
    notes = list_notes(session, user_id)
    chosen = notes if number is None else notes[number - 1 : number]
    gone = session.execute(delete(MemberNoteRow).where(MemberNoteRow.id.in_([note.id for note in chosen])))
    return changed_rows(gone)


def delete_memories(session: Session, user_id: int) -> tuple[int, int]:
    """Drop the member's notes, and every summary that tells their words; return how many of each."""
    notes = drop_notes(session, user_id)
    told_in = select(ConversationSpeakerRow.channel_id).where(ConversationSpeakerRow.user_id == user_id)
    return notes, begin_anew(session, session.scalars(told_in).all())


def begin_anew(session: Session, channel_ids: Collection[int]) -> int:
    """Drop the summaries of the channels, and return how many those were.

    What was summarised is not read again word for word: the messages may still stand on Discord.
    """
    for channel_id in channel_ids:
        forget_conversation(session, channel_id, read_memory(session, channel_id).begins_after)
    return len(channel_ids)
