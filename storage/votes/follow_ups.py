"""What askers write after an answer, as weak votes: thanks, or that they go on. The words are never stored."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import ColumnElement, delete, or_, select, update
from sqlalchemy.orm import Session

from storage.database.columns import utc_now
from storage.database.enums import SAID_IN_WORDS, Basis, WeakVote
from storage.database.rows import changed_rows
from storage.database.tables import ConsentRow, FollowUpRow, ReplyRow
from storage.settings.sections import Settings


def reads_words(settings: Settings) -> bool:
    """Return whether what members write after an answer may count as a weak vote here."""
    return settings.privacy.learn_from_reactions and any(kind in SAID_IN_WORDS for kind in settings.votes.weak)


def watch_follow_up(session: Session, reply_id: int, settings: Settings) -> None:
    """Let the asker's next words count, if their words may be trained on."""
    watched = select(ReplyRow.id).where(ReplyRow.id == reply_id, may_teach(settings))
    if reads_words(settings) and session.scalar(watched) is not None:
        session.add(FollowUpRow(reply_id=reply_id))


def may_teach(settings: Settings) -> ColumnElement[bool]:
    """Select the answers whose asker's words may be trained on: said outside Discord, or by a member who opted in."""
    is_local = ReplyRow.basis == Basis.LOCAL
    if not settings.privacy.discord_training_permission:
        return is_local
    return or_(is_local, select(ConsentRow.user_id).where(ConsentRow.user_id == ReplyRow.author_id).exists())


def note_follow_up(session: Session, reply_id: int, asker_id: int, message_id: int, said: WeakVote) -> bool:
    """Store what the asker of a watched answer said; return whether that is new. Thanks replace that they went on."""
    own = select(ReplyRow.id).where(ReplyRow.id == reply_id, ReplyRow.author_id == asker_id)
    weaker = FollowUpRow.said.is_(None)
    if said is WeakVote.THANKED:
        weaker |= FollowUpRow.said == WeakVote.WENT_ON
    noted = (
        update(FollowUpRow)
        .where(FollowUpRow.reply_id.in_(own), weaker)
        .values(said=said, message_id=message_id, said_at=utc_now())
    )
    return changed_rows(session.execute(noted)) == 1


def take_back_follow_ups(session: Session, message_ids: Collection[int]) -> bool:
    """Forget what these Discord messages said, as they are gone or changed; return whether they said anything."""
    taken = update(FollowUpRow).where(FollowUpRow.message_id.in_(message_ids))
    return changed_rows(session.execute(taken.values(said=None, message_id=None, said_at=None))) > 0


def forget_follow_ups_of(session: Session, asker_id: int, guild_id: int | None = None) -> None:
    """Watch the answers to a member no longer, in one server or everywhere, and forget what they said of them."""
    theirs = select(ReplyRow.id).where(ReplyRow.author_id == asker_id)
    if guild_id is not None:
        theirs = theirs.where(ReplyRow.guild_id == guild_id)
    session.execute(delete(FollowUpRow).where(FollowUpRow.reply_id.in_(theirs)))
