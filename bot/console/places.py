"""Servers and channels by the names that the bot knows, and links to Discord."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import discord

from bot.console.page import Here
from storage.database.enums import NOBODY


@dataclass(frozen=True)
class AnswerSource:
    """Where an answer was given."""

    name: str
    link: str | None
    """To its message; None if the visitor cannot open it: in direct messages, and in the demo."""


def visible_servers(here: Here) -> list[discord.Guild]:
    """Return the servers that the visitor may see, by name."""
    seen = (guild for guild in here.bot.guilds if here.visitor.may_see_server(guild.id))
    return sorted(seen, key=lambda guild: (guild.name.casefold(), guild.id))


def source_of(here: Here, guild_id: int | None, channel_id: int, link: str | None) -> AnswerSource:
    """Return the channel's name, with the link to the answer's message, if it has one."""
    can_open = guild_id is not None and here.services.fixed_basis is None
    return AnswerSource(_name(here, guild_id, channel_id), link if can_open else None)


def _name(here: Here, guild_id: int | None, channel_id: int) -> str:
    if channel_id == NOBODY:
        return "console"
    if guild_id is None:
        return "direct message"
    channel = _find_channel(here, guild_id, channel_id)
    return f"#{channel}" if channel else "a channel that is gone"


def name_channels(here: Here, found: Iterable[tuple[int, int]]) -> dict[int, str]:
    """Return the names of the channels, given as (server, channel), by their ids; those that are gone are left out."""
    channels = filter(None, (_find_channel(here, guild_id, channel_id) for guild_id, channel_id in found))
    by_name = sorted(channels, key=lambda channel: (channel.guild.name.casefold(), channel.guild.id, str(channel)))
    several = len(visible_servers(here)) > 1
    return {channel.id: f"#{channel} ({channel.guild})" if several else f"#{channel}" for channel in by_name}


def _find_channel(here: Here, guild_id: int, channel_id: int) -> discord.abc.GuildChannel | discord.Thread | None:
    # Through the server: to look a channel up by its id alone, discord.py asks every server.
    server = here.bot.get_guild(guild_id)
    return server.get_channel_or_thread(channel_id) if server else None
