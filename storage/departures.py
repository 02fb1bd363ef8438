"""Members who left a server, and servers that the bot left: what is kept goes after a while, unless they return."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from storage.database.enums import NOBODY
from storage.database.tables import (
    CorrectionRow,
    DepartureRow,
    DocumentRow,
    MemberRow,
    ReplyRow,
    ReplySpeakerRow,
    VoteEventRow,
)
from storage.erasing import Erased, erase_guild, erase_member_in


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
