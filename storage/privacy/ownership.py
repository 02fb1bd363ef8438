"""Whose a row is, as the tables declare it: the columns that name members or servers, and the rows in a server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

from sqlalchemy import ColumnElement, Select, select, union
from sqlalchemy.orm import InstrumentedAttribute, Session

from storage.database.columns import MEMBER, SERVER, Fate
from storage.database.enums import NOBODY
from storage.database.rows import any_row
from storage.database.tables import Base, ConversationRow, ReplyRow

Naming = InstrumentedAttribute[Any]
"""A column that names members or servers, of a mapped table."""
WhichServer = Callable[[Naming], ColumnElement[bool]]
"""Gets a column of server IDs; NULL and 0 are direct messages, or no place at all."""
STORED = (Fate.GONE, Fate.SPEAKS, Fate.UNNAMED)
"""What a member who leaves has in a server."""


def naming_members(*fates: Fate) -> list[Naming]:
    """Return the columns with IDs of members whose rows have one of the fates; without fates, all."""
    return list(_naming(MEMBER, fates))


def naming_servers(*fates: Fate) -> list[Naming]:
    """Return the columns with IDs of servers whose rows have one of the fates; without fates, all."""
    return list(_naming(SERVER, fates))


def _naming(key: str, fates: tuple[Fate, ...]) -> Iterator[Naming]:
    for table in table_classes():
        for column in table.__mapper__.column_attrs:
            fate = column.columns[0].info.get(key)
            if fate is not None and (not fates or fate in fates):
                yield column.class_attribute


@cache
def table_classes() -> tuple[type[Base], ...]:
    """Return every mapped table, each after the tables that it references."""
    by_table = {mapper.local_table: mapper.class_ for mapper in Base.registry.mappers}
    return tuple(by_table[table] for table in Base.metadata.sorted_tables)


def rows_in(table: type[Base], which: WhichServer) -> ColumnElement[bool] | None:
    """Select the rows in these servers; None if no row of the table is in a server.

    A part, which is deleted with another row, is where that is. A conversation is where its channel's answers are.
    """
    own = next((column for column in naming_servers() if column.class_ is table), None)
    if own is not None:
        return which(own)
    if table is ConversationRow:
        return ConversationRow.channel_id.in_(select(ReplyRow.channel_id).where(which(ReplyRow.guild_id)))
    for key in sorted(table.__table__.foreign_keys, key=lambda key: key.parent.name):
        wholes = [whole for whole in table_classes() if whole.__table__ is key.column.table]
        inside = rows_in(wholes[0], which) if key.ondelete == "CASCADE" else None
        if inside is not None:
            return key.parent.in_(select(key.column).where(inside))
    return None


def in_server(guild_id: int) -> WhichServer:
    return lambda column: column == guild_id


def in_any_server(column: Naming) -> ColumnElement[bool]:
    return column > 0


def known_members(session: Session, guild_id: int) -> set[int]:
    """Return the members with stored data in the server, also those who left it."""
    people = union(*(select(column).where(here) for column, here in _stored(in_server(guild_id))))
    return set(session.scalars(people)) - {NOBODY}


def is_known(session: Session, user_id: int, which: WhichServer) -> bool:
    """Return whether data of the member is stored in one of these servers."""
    return any(any_row(session, select(column).where(column == user_id, here)) for column, here in _stored(which))


def _stored(which: WhichServer) -> Iterator[tuple[Naming, ColumnElement[bool]]]:
    for column in naming_members(*STORED):
        if (here := rows_in(column.class_, which)) is not None:
            yield column, here


def known_guilds(session: Session) -> set[int]:
    """Return the servers with stored data."""
    found = union(*(select(column).where(in_any_server(column)) for column in naming_servers(Fate.GONE)))
    return set(session.scalars(found))


def channels_in(guild_id: int) -> Select[int]:
    """Select the channels of a server whose conversation is remembered."""
    here = rows_in(ConversationRow, in_server(guild_id))
    assert here is not None
    return select(ConversationRow.channel_id).where(here)
