"""Where answers were given: servers and channels by the names that the bot knows, and links to Discord."""

from __future__ import annotations

from collections.abc import Iterable

import discord

from bot.console.page import CHANNEL, Here
from storage.database.enums import NOBODY


def visible_servers(here: Here) -> list[discord.Guild]:
    """Return the servers that the visitor may see, by name."""
    seen = (guild for guild in here.bot.guilds if here.visitor.may_see_server(guild.id))
    return sorted(seen, key=lambda guild: (guild.name.casefold(), guild.id))


def name_channel(here: Here, guild_id: int | None, channel_id: int) -> str:
    """Return how to call the channel of an answer."""
    if channel_id == NOBODY:
        return "console"
    if guild_id is None:
        return "direct message"
    channel = here.bot.get_channel(channel_id)
    return f"#{channel}" if channel is not None else "a channel that is gone"


def name_channels(here: Here, channel_ids: Iterable[int]) -> dict[int, str]:
    """Return the names of those channels that the visitor may see, with the server's if there are several."""
    several = len(visible_servers(here)) > 1
    channels = (here.bot.get_channel(channel_id) for channel_id in channel_ids)
    seen = [
        channel
        for channel in channels
        if isinstance(channel, discord.abc.GuildChannel | discord.Thread)
        and here.visitor.may_see_server(channel.guild.id)
    ]
    seen.sort(key=lambda channel: (channel.guild.name.casefold(), channel.name))
    return {channel.id: f"#{channel} ({channel.guild})" if several else f"#{channel}" for channel in seen}


def link_to_discord(here: Here, link: str | None) -> str | None:
    """Return the link to a message; None in the demo, whose messages are not on Discord."""
    return None if here.request.app[CHANNEL].address else link
