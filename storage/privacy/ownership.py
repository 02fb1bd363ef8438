"""The owners of rows, as the tables declare them: columns that name members or servers, and the rows in a server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache, partial
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Select, select, union
from sqlalchemy.orm import InstrumentedAttribute, Session

from storage.database.columns import MEMBER, PSEUDONYM, SERVER, Fate
from storage.database.enums import NOBODY
from storage.database.rows import any_row
from storage.database.tables import Base, ConversationRow, ReplyRow

WhichServer = Callable[[InstrumentedAttribute[Any]], ColumnElement[bool]]
"""Makes a condition on a column of server IDs; NULL and 0 are direct messages, or no place at all."""
STORED = (Fate.GONE, Fate.SPEAKS, Fate.UNNAMED)
"""Fates of rows that count as stored data of a member in a server."""


class Naming(NamedTuple):
    """A column that names members or servers."""

    table: type[Base]
    column: InstrumentedAttribute[Any]

    def __str__(self) -> str:
        return f"{self.table.__tablename__}.{self.column.key}"


def _naming(key: str, *fates: Fate) -> list[Naming]:
    """Return the columns with this key of `info` whose rows have one of the fates, or any if none is given."""
    return [
        Naming(table, getattr(table, name))
        for table in table_classes()
        for name, column in table.__mapper__.columns.items()
        if column.info.get(key) in (fates or tuple(Fate))
    ]


naming_members = partial(_naming, MEMBER)
naming_pseudonyms = partial(_naming, PSEUDONYM)
naming_servers = partial(_naming, SERVER)


@cache
def table_classes() -> tuple[type[Base], ...]:
    """Return every mapped table, each after the tables that it references."""
    by_table = {mapper.local_table: mapper.class_ for mapper in Base.registry.mappers}
    return tuple(by_table[table] for table in Base.metadata.sorted_tables)


def rows_in(table: type[Base], which: WhichServer) -> ColumnElement[bool] | None:
    """Select the rows in these servers; None if no row of the table is in a server.

    A row that is deleted with another one is in that one's server. A conversation is in the server of its channel's
    answers.
    """
    for naming in naming_servers():
        if naming.table is table:
            return which(naming.column)
    if table is ConversationRow:
        return ConversationRow.channel_id.in_(select(ReplyRow.channel_id).where(which(ReplyRow.guild_id)))
    for key in sorted(table.__table__.foreign_keys, key=lambda key: key.parent.name):
        (whole,) = (whole for whole in table_classes() if whole.__table__ is key.column.table)
        inside = rows_in(whole, which) if key.ondelete == "CASCADE" else None
        if inside is not None:
            return key.parent.in_(select(key.column).where(inside))
    return None


def in_guild(guild_id: int) -> WhichServer:
    return lambda column: column == guild_id


def in_any_guild(column: InstrumentedAttribute[Any]) -> ColumnElement[bool]:
    return column > 0


def known_members(session: Session, guild_id: int) -> set[int]:
    """Return the members with stored data in the server, also those who left it."""
    people = union(*(select(column).where(here) for column, here in _stored(in_guild(guild_id))))
    return set(session.scalars(people)) - {NOBODY}


def is_known(session: Session, user_id: int, which: WhichServer) -> bool:
    """Return whether data of the member is stored in one of these servers."""
    return any(any_row(session, select(column).where(column == user_id, here)) for column, here in _stored(which))


def _stored(which: WhichServer) -> Iterator[tuple[InstrumentedAttribute[Any], ColumnElement[bool]]]:
    for table, column in naming_members(*STORED):
        if (here := rows_in(table, which)) is not None:
            yield column, here


def known_guilds(session: Session) -> set[int]:
    """Return the servers with stored data."""
    found = union(*(select(column).where(in_any_guild(column)) for _, column in naming_servers(Fate.GONE)))
    return set(session.scalars(found))


def channels_in(guild_id: int) -> Select[int]:
    """Select the channels of a server whose conversation is remembered."""
    here = rows_in(ConversationRow, in_guild(guild_id))
    assert here is not None
    return select(ConversationRow.channel_id).where(here)
