"""Conditions for queries that select the answers somebody may read, so that no others are found, counted or opened."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from itertools import chain

from sqlalchemy import ColumnElement, and_, or_

from storage.database.enums import Basis, Origin
from storage.database.rows import unindexed
from storage.database.tables import ReplyRow

Channels = Mapping[int, Collection[int]]
"""IDs of channels and threads, by server."""


def in_server(guild_id: int) -> ColumnElement[bool]:
    """Select answers in the server, and those given outside Discord; no direct messages, and no talks."""
    is_outside = and_(ReplyRow.basis == Basis.LOCAL, ReplyRow.origin != Origin.PLAYGROUND)
    return or_(ReplyRow.guild_id == guild_id, is_outside)


def in_talks_of(user_id: int) -> ColumnElement[bool]:
    """Select answers in the person's own talks in the playground."""
    return and_(ReplyRow.origin == Origin.PLAYGROUND, ReplyRow.author_id == user_id)


def in_channels(channels: Channels, *, is_one_chosen: bool = False) -> ColumnElement[bool]:
    """Select answers in these channels; `is_one_chosen` means that the query selects one channel's answers anyway."""
    # The index of one channel, or of one server, has its newest answers first. With the index of several servers, all
    # their answers would be sorted.
    match list(channels):
        case [only] if not is_one_chosen:
            in_servers = ReplyRow.guild_id == only
        case servers:
            in_servers = unindexed(ReplyRow.guild_id).in_(servers)
    return and_(in_servers, unindexed(ReplyRow.channel_id).in_(list(chain.from_iterable(channels.values()))))
