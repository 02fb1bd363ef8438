"""Members: pseudonyms for training data, memberships of servers, and who has received the privacy notice."""

from __future__ import annotations

import hmac
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import datetime
from functools import cached_property
from typing import NewType

from sqlalchemy import ColumnElement, Select, and_, delete, func, select, true
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import InstrumentedAttribute, Session

from storage.database.enums import NOBODY, Basis
from storage.database.rows import in_parts, upsert
from storage.database.tables import (
    CorrectionRow,
    GreetingRow,
    MemberRow,
    PseudonymKeyRow,
    ReplyRow,
    ReplySpeakerRow,
    VoteEventRow,
)

Pseudonym = NewType("Pseudonym", int)
"""A member's number in training data: 63 bits, so that it fits into an ID column; never a Discord ID."""
SOMEBODY = "@somebody"

_MENTION = re.compile(r"<@!?\d+>")
Member = tuple[int | None, int]
"""(server or None, as `home_of` returns it; user ID of a member there)."""
DIRECT = 0
"""Stands for direct messages in place of a server ID."""
GuildId = InstrumentedAttribute[int] | InstrumentedAttribute[int | None]


class Pseudonyms:
    """Computes pseudonyms: a keyed hash of a Discord ID, which cannot be reversed without the database's key."""

    def __init__(self, key: bytes) -> None:
        self.__key = key
        self.__known = {NOBODY: Pseudonym(NOBODY)}

    def __repr__(self) -> str:
        return "Pseudonyms(key hidden)"

    def of(self, user_id: int) -> Pseudonym:
        """Return the user's pseudonym, always the same in one database; NOBODY stays NOBODY."""
        if user_id not in self.__known:
            digest = hmac.digest(self.__key, user_id.to_bytes(8, "big"), "sha256")
            self.__known[user_id] = Pseudonym(int.from_bytes(digest[:8], "big") >> 1)
        return self.__known[user_id]

    def seal(self, text: str) -> str:
        """Return a keyed hash of a text, in hexadecimal: it recognises the text but does not reveal it."""
        return hmac.digest(self.__key, text.encode(), "sha256").hex()


def read_pseudonyms(session: Session) -> Pseudonyms:
    """Return the pseudonyms of this database."""
    return Pseudonyms(session.scalars(select(PseudonymKeyRow.key)).one())


def without_mentions(text: str) -> str:
    """Return the text without user IDs, which are in mentions that could not be replaced by a name."""
    return _MENTION.sub(SOMEBODY, text) if "<@" in text else text


def anonymous(messages: Iterable[dict[str, str]]) -> list[dict[str, str]]:
    """Return chat messages without user IDs."""
    return [{"role": said["role"], "content": without_mentions(said["content"])} for said in messages]


def home_of(guild_id: int | None, basis: Basis | None) -> int | None:
    """Return the server whose membership counts for a reply, DIRECT, or None outside Discord."""
    return DIRECT if guild_id is None and basis is not Basis.LOCAL else guild_id


def note_members(session: Session, guild_id: int, joined_at: Mapping[int, datetime]) -> None:
    """Store the start of these users' memberships of the server: {user id: moment}, as Discord reports it.

    The latest moment wins: a member who left and came back is new again. Otherwise former members' accounts could be
    saved for a raid. Earlier signs of a membership still count for earlier votes: see `Memberships`.
    """
    rows = [
        {"guild_id": guild_id, "user_id": user_id, "joined_at": moment}
        for user_id, moment in sorted(_not_stored(session, guild_id, joined_at).items())
    ]
    if not rows:
        return
    statement = upsert(session, MemberRow).values(rows)
    later = statement.excluded.joined_at
    session.execute(
        statement.on_conflict_do_update(
            index_elements=["guild_id", "user_id"], set_={"joined_at": later}, where=MemberRow.joined_at < later
        )
    )


def _not_stored(session: Session, guild_id: int, joined_at: Mapping[int, datetime]) -> dict[int, datetime]:
    """Return the moments that are not stored yet; most votes bring none, so nothing is written."""
    if not joined_at:
        return {}
    rows = session.execute(
        select(MemberRow.user_id, MemberRow.joined_at).where(
            MemberRow.guild_id == guild_id, MemberRow.user_id.in_(joined_at)
        )
    )
    known = dict(rows.all())
    return {user: moment for user, moment in joined_at.items() if user not in known or known[user] < moment}


def strangers(session: Session, since: datetime) -> dict[int, set[int]]:
    """Return {guild id: user ids} of voters on replies created at or after `since` whose joining date is unknown."""
    found: dict[int, set[int]] = defaultdict(set)
    rows = session.execute(
        select(ReplyRow.guild_id, VoteEventRow.user_id)
        .join(ReplyRow, ReplyRow.id == VoteEventRow.reply_id)
        .outerjoin(MemberRow, (MemberRow.guild_id == ReplyRow.guild_id) & (MemberRow.user_id == VoteEventRow.user_id))
        .where(ReplyRow.created_at >= since, ReplyRow.guild_id.is_not(None), MemberRow.user_id.is_(None))
        .distinct()
    )
    for guild_id, user_id in rows:
        assert guild_id is not None
        found[guild_id].add(user_id)
    return dict(found)


def read_talkers(session: Session) -> set[int]:
    """Return everyone who has ever asked the bot something, or whose words are in a prompt."""
    authors = select(ReplyRow.author_id).distinct()
    return set(session.scalars(select(ReplySpeakerRow.user_id).distinct().union(authors)))


class Memberships:
    """The start of members' memberships of their servers, as of their votes.

    Only `members` are read; without them, everyone.
    """

    def __init__(self, session: Session, members: Collection[Member] | None = None) -> None:
        self._session = session
        self._members = members
        joined = select(MemberRow.guild_id, MemberRow.user_id, MemberRow.joined_at)
        self._joined_at: dict[Member, datetime] = {
            (guild_id, user_id): moment
            for which in self._conditions(MemberRow.guild_id, MemberRow.user_id)
            for guild_id, user_id, moment in session.execute(joined.where(which))
        }

    def since(self, guild_id: int, user_id: int, voted_at: datetime) -> datetime:
        """Return the start of the voter's membership.

        For a voter who joined (again) after the vote, or whose joining date is unknown, it is their first activity in
        the server. In direct messages it is their first known activity anywhere.
        """
        if guild_id == DIRECT:
            return min(self._first_known.get(user_id, voted_at), voted_at)
        joined_at = self._joined_at.get((guild_id, user_id))
        if joined_at is not None and joined_at <= voted_at:
            return joined_at
        return self._first_signs.get((guild_id, user_id), voted_at)

    @cached_property
    def _first_known(self) -> dict[int, datetime]:
        known: dict[int, datetime] = {}
        for (_, user_id), moment in (*self._joined_at.items(), *self._first_signs.items()):
            known[user_id] = min(known.get(user_id, moment), moment)
        return known

    @cached_property
    def _first_signs(self) -> dict[Member, datetime]:
        """Return when each member first voted, corrected, asked, or had words in a prompt, in each server."""
        signs: dict[Member, datetime] = {}
        for user, query in _signs().items():
            for which in self._conditions(ReplyRow.guild_id, user):
                for guild_id, user_id, moment in self._session.execute(query.where(which)):
                    known = signs.get((guild_id, user_id), moment)
                    signs[guild_id, user_id] = min(known, moment)
        return signs

    def _conditions(self, guild_id: GuildId, user_id: InstrumentedAttribute[int]) -> Iterator[ColumnElement[bool]]:
        """Yield conditions that together select the members, each small enough for one statement."""
        if self._members is None:
            yield true()
            return
        guilds = {guild for guild, _ in self._members if guild}
        for users in in_parts(user for guild, user in self._members if guild):
            yield and_(guild_id.in_(guilds), user_id.in_(users))
        for users in in_parts(user for guild, user in self._members if guild == DIRECT):
            yield user_id.in_(users)


def _signs() -> dict[InstrumentedAttribute[int], Select[int | None, int, datetime]]:
    """Return the query for each kind of activity, by the column that holds the user."""
    asked = (ReplyRow.guild_id, ReplyRow.author_id)
    spoken = (ReplyRow.guild_id, ReplySpeakerRow.user_id)
    voted = (ReplyRow.guild_id, VoteEventRow.user_id)
    wrote = (ReplyRow.guild_id, CorrectionRow.author_id)
    return {
        ReplyRow.author_id: select(*asked, func.min(ReplyRow.created_at)).group_by(*asked),
        ReplySpeakerRow.user_id: select(*spoken, func.min(ReplyRow.created_at)).join(ReplyRow).group_by(*spoken),
        VoteEventRow.user_id: select(*voted, func.min(VoteEventRow.created_at)).join(ReplyRow).group_by(*voted),
        CorrectionRow.author_id: select(*wrote, func.min(CorrectionRow.created_at)).join(ReplyRow).group_by(*wrote),
    }


def is_greeted(session: Session, user_id: int) -> bool:
    """Return whether the member has received the privacy notice."""
    return session.get(GreetingRow, user_id) is not None


def greet(session: Session, user_id: int) -> bool:
    """Record that the member receives the privacy notice; return False if that was already recorded."""
    if is_greeted(session, user_id):
        return False
    try:
        with session.begin_nested():
            session.add(GreetingRow(user_id=user_id))
    except IntegrityError:
        return False
    return True


def take_back_greeting(session: Session, user_id: int) -> None:
    """Remove the record of a notice that Discord refused, so that the member's next message brings it again."""
    session.execute(delete(GreetingRow).where(GreetingRow.user_id == user_id))
