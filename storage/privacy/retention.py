"""Retention: what is deleted after its time, and the data of members who left."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, and_, delete, func, or_, select
from sqlalchemy.orm import Session

from storage.conversations.memory import drop_summaries
from storage.database.columns import utc_now
from storage.database.enums import NOBODY, ArenaStatus, Basis, RoundStatus
from storage.database.rows import changed_rows
from storage.database.tables import (
    AlertRow,
    ArenaAnswerRow,
    ArenaRow,
    ConversationRow,
    CorrectionRow,
    DepartureRow,
    DocumentRow,
    MemberRow,
    ReplyRow,
    ReplySpeakerRow,
    RoundPairRow,
    RoundRow,
    VersionRow,
    VoteEventRow,
)
from storage.personalities.personalities import lock_personalities
from storage.privacy.erasure import Erased, erase_guild, erase_member_in
from storage.settings.sections import PrivacySettings

BATCH = 100
"""Answers that go in one transaction: few enough that no vote waits for them."""


@dataclass(frozen=True)
class Pruned:
    replies: int = 0
    votes: int = 0
    """Events, as they are kept."""
    corrections: int = 0
    summaries: int = 0
    memberships: int = 0

    def __bool__(self) -> bool:
        return self != Pruned()

    def __add__(self, other: Pruned) -> Pruned:
        return Pruned(
            self.replies + other.replies,
            self.votes + other.votes,
            self.corrections + other.corrections,
            self.summaries + other.summaries,
            self.memberships + other.memberships,
        )


def keeps_until(settings: PrivacySettings) -> datetime | None:
    """Return the moment before which nothing is kept that no version learned from; None where all is kept."""
    return utc_now() - timedelta(days=settings.retention_days) if settings.retention_days else None


def is_past(before: datetime) -> ColumnElement[bool]:
    """Select the answers that have been kept long enough.

    Kept are those that a version's manifest names, or that of a round under way, answers of arenas that are open, and
    what was said outside Discord, which holds nobody's data there.
    """
    lasting = select(RoundRow.id).where(
        or_(
            RoundRow.status.in_((RoundStatus.PUBLISHED, RoundStatus.RUNNING)),
            RoundRow.id.in_(select(VersionRow.round_id).where(VersionRow.round_id.is_not(None))),
        )
    )
    named = select(RoundPairRow.round_id).where(
        RoundPairRow.round_id.in_(lasting),
        or_(RoundPairRow.chosen_reply_id == ReplyRow.id, RoundPairRow.rejected_reply_id == ReplyRow.id),
    )
    corrected = (
        select(RoundPairRow.round_id)
        .join(CorrectionRow, CorrectionRow.id == RoundPairRow.correction_id)
        .where(RoundPairRow.round_id.in_(lasting), CorrectionRow.reply_id == ReplyRow.id)
    )
    undecided = (
        select(ArenaAnswerRow.arena_id)
        .join(ArenaRow)
        .where(
            ArenaAnswerRow.reply_id == ReplyRow.id,
            ArenaRow.status.in_((ArenaStatus.PREPARING, ArenaStatus.OPEN)),
        )
    )
    return and_(
        ReplyRow.created_at < before,
        or_(ReplyRow.basis.is_(None), ReplyRow.basis != Basis.LOCAL),
        ~named.exists(),
        ~corrected.exists(),
        ~undecided.exists(),
    )


def past_replies(session: Session, before: datetime, limit: int = BATCH) -> list[int]:
    """Return the ids of the oldest answers that have been kept long enough; looking for them holds nobody up."""
    return list(session.scalars(select(ReplyRow.id).where(is_past(before)).order_by(ReplyRow.id).limit(limit)))


def prune_replies(session: Session, before: datetime, reply_ids: Collection[int]) -> Pruned:
    """Delete those of the answers that may still go, with the votes, corrections and messages on them."""
    lock_personalities(session)  # or a round that is being planned would name what goes
    ids = session.scalars(select(ReplyRow.id).where(ReplyRow.id.in_(reply_ids), is_past(before))).all()
    votes, corrections = (
        session.scalar(select(func.count()).select_from(table).where(table.reply_id.in_(ids))) or 0
        for table in (VoteEventRow, CorrectionRow)
    )
    session.execute(delete(ReplyRow).where(ReplyRow.id.in_(ids)))
    return Pruned(len(ids), votes, corrections)


def prune_rest(session: Session, before: datetime) -> Pruned:
    """Drop summaries and ended alerts that are as old, and the dates of members whose votes and suggestions went.

    Of summaries so many as go in one transaction.
    """
    stale = select(ConversationRow.channel_id).where(ConversationRow.summary != "", ConversationRow.updated_at < before)
    summaries = drop_summaries(session, session.scalars(stale.limit(BATCH)).all())
    voted = select(VoteEventRow.id).where(VoteEventRow.user_id == MemberRow.user_id).exists()
    wrote = select(CorrectionRow.id).where(CorrectionRow.author_id == MemberRow.user_id).exists()
    session.execute(delete(AlertRow).where(AlertRow.ended_at < before))
    gone = session.execute(delete(MemberRow).where(~voted, ~wrote))
    return Pruned(summaries=summaries, memberships=changed_rows(gone))


def count_past(session: Session, before: datetime) -> int:
    """Count the answers that have been kept long enough and are still there."""
    return session.scalar(select(func.count()).select_from(ReplyRow).where(is_past(before))) or 0


@dataclass(frozen=True)
class Departure:
    """Who left which server; nobody stands for the whole server, which the bot left."""

    guild_id: int
    user_id: int
    left_at: datetime

    @property
    def is_of_server(self) -> bool:
        return self.user_id == NOBODY


def note_departure(session: Session, guild_id: int, user_id: int = NOBODY) -> bool:
    """Begin the time after which the data goes; False where it has begun, or where nothing is kept."""
    if session.get(DepartureRow, (guild_id, user_id)) is not None:
        return False
    known = known_guilds(session) if user_id == NOBODY else known_members(session, guild_id)
    if (guild_id if user_id == NOBODY else user_id) not in known:
        return False
    session.add(DepartureRow(guild_id=guild_id, user_id=user_id))
    session.flush()
    return True


def cancel_departures(session: Session, guild_id: int, user_ids: Collection[int] = (NOBODY,)) -> int:
    """Keep the data of those who came back; return how many had been gone."""
    back = select(DepartureRow.user_id).where(DepartureRow.guild_id == guild_id, DepartureRow.user_id.in_(user_ids))
    returned = session.scalars(back).all()
    session.execute(delete(DepartureRow).where(DepartureRow.guild_id == guild_id, DepartureRow.user_id.in_(returned)))
    return len(returned)


def departed_before(session: Session, moment: datetime) -> list[Departure]:
    """Return who left before the moment, the longest gone first."""
    rows = session.scalars(select(DepartureRow).where(DepartureRow.left_at < moment).order_by(DepartureRow.left_at))
    return [Departure(row.guild_id, row.user_id, row.left_at) for row in rows]


def complete_departure(session: Session, departure: Departure) -> Erased | None:
    """Delete what is kept of who left; None where they came back meanwhile."""
    row = session.get(DepartureRow, (departure.guild_id, departure.user_id), with_for_update=True)
    if row is None or row.left_at != departure.left_at:
        return None
    if departure.is_of_server:
        erased = erase_guild(session, departure.guild_id)
        concerned = DepartureRow.guild_id == departure.guild_id  # its members left with it
    else:
        erased = erase_member_in(session, departure.guild_id, departure.user_id)
        concerned = (DepartureRow.guild_id == departure.guild_id) & (DepartureRow.user_id == departure.user_id)
    session.execute(delete(DepartureRow).where(concerned))
    return erased


def known_guilds(session: Session) -> set[int]:
    """Return the servers of which anything is kept."""
    of_replies = select(ReplyRow.guild_id).where(ReplyRow.guild_id.is_not(None)).distinct()
    found = session.scalars(of_replies.union(select(DocumentRow.guild_id), select(MemberRow.guild_id)))
    return {guild_id for guild_id in found if guild_id}


def known_members(session: Session, guild_id: int) -> set[int]:
    """Return the members of whom anything is kept in the server."""
    here = select(ReplyRow.id).where(ReplyRow.guild_id == guild_id)
    found = select(ReplySpeakerRow.user_id).where(ReplySpeakerRow.reply_id.in_(here))
    people = found.union(
        select(ReplyRow.author_id).where(ReplyRow.guild_id == guild_id),
        select(VoteEventRow.user_id).where(VoteEventRow.reply_id.in_(here)),
        select(CorrectionRow.author_id).where(CorrectionRow.reply_id.in_(here)),
        select(MemberRow.user_id).where(MemberRow.guild_id == guild_id),
    )
    return set(session.scalars(people)) - {NOBODY}


def departed_from(session: Session, guild_id: int) -> set[int]:
    """Return the members whose departure from the server is noted."""
    left = select(DepartureRow.user_id).where(DepartureRow.guild_id == guild_id, DepartureRow.user_id != NOBODY)
    return set(session.scalars(left))
