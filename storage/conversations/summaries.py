"""Summaries of long conversations, and the point from which a conversation is remembered."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from storage.database.columns import utc_now
from storage.database.rows import changed_rows, from_row
from storage.database.tables import ConversationRow, ConversationSpeakerRow


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
        """Return the ID of the message after which messages are read word for word."""
        return max(self.summarised_to, self.forgotten_to)


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


def drop_summaries_with(session: Session, user_id: int) -> int:
    """Delete every summary that covers words of the member, and return their number."""
    summarised_in = select(ConversationSpeakerRow.channel_id).where(ConversationSpeakerRow.user_id == user_id)
    return drop_summaries(session, session.scalars(summarised_in).all())


def drop_summaries(session: Session, channel_ids: Collection[int]) -> int:
    """Delete the summaries of the channels, and return their number.

    The summarised messages may still exist on Discord, but they are not read again.
    """
    for channel_id in channel_ids:
        forget_conversation(session, channel_id, read_memory(session, channel_id).begins_after)
    return len(channel_ids)
