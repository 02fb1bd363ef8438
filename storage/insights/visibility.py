"""Which answers somebody may read: conditions for queries, so that nothing else is found, counted or opened."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from itertools import chain

from sqlalchemy import ColumnElement, and_, or_

from storage.database.enums import Basis
from storage.database.tables import ReplyRow

Channels = Mapping[int, Collection[int]]
"""IDs of channels and threads, by server."""


def in_server(guild_id: int) -> ColumnElement[bool]:
    """Select answers in the server, and those given outside Discord; no direct messages."""
    return or_(ReplyRow.guild_id == guild_id, ReplyRow.basis == Basis.LOCAL)


def in_channels(channels: Channels) -> ColumnElement[bool]:
    """Select answers in these channels."""
    # Of one server, its index has the newest answers first. Those of several would be sorted: no index is faster.
    servers = [ReplyRow.guild_id == server for server in channels] if len(channels) == 1 else []
    return and_((ReplyRow.channel_id + 0).in_(list(chain.from_iterable(channels.values()))), *servers)
