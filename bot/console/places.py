"""Where answers were given: servers and channels by the names that the bot knows, and links to Discord."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass

import discord

from bot.console.page import PAGES, Here
from storage.database.enums import NOBODY


@dataclass(frozen=True)
class Place:
    """Where an answer was given."""

    name: str
    link: str | None
    """To its message; None if the visitor cannot open it: in direct messages, and in the demo."""


def visible_servers(here: Here) -> list[discord.Guild]:
    """Return the servers that the visitor may see, by name."""
    seen = (guild for guild in here.bot.guilds if here.visitor.may_see_server(guild.id))
    return sorted(seen, key=lambda guild: (guild.name.casefold(), guild.id))


def place_of(here: Here, guild_id: int | None, channel_id: int, link: str | None) -> Place:
    """Return where an answer was given, with the link to its message, if it has one."""
    can_open = guild_id is not None and here.pages == PAGES
    return Place(_name(here, guild_id, channel_id), link if can_open else None)


def _name(here: Here, guild_id: int | None, channel_id: int) -> str:
    if channel_id == NOBODY:
        return "console"
    if guild_id is None:
        return "direct message"
    server = here.bot.get_guild(guild_id)
    channel = server.get_channel_or_thread(channel_id) if server else None
    return f"#{channel}" if channel else "a channel that is gone"


def name_channels(here: Here, channel_ids: Container[int]) -> dict[int, str]:
    """Return the names of those channels that the visitor may see, by their ids."""
    servers = visible_servers(here)
    # Through the servers: to look a channel up by its id alone, discord.py asks every server.
    channels = [
        channel
        for server in servers
        for channel in sorted((*server.channels, *server.threads), key=str)
        if channel.id in channel_ids and here.visitor.may_see_channel(server.id, channel.id)
    ]
    several = len(servers) > 1
    return {channel.id: f"#{channel} ({channel.guild})" if several else f"#{channel}" for channel in channels}
