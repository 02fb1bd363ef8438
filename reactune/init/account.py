"""What Discord says about the bot, over HTTP alone: its account, its intents, and its servers."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import discord

from reactune.discord_api import logged_in


@dataclass(frozen=True)
class Account:
    """A bot that Discord let in."""

    token: str
    name: str
    application_id: int
    may_read_messages: bool
    """The message content intent is on."""
    servers: dict[int, str]
    """Names of the servers that it is in, by ID."""


@dataclass(frozen=True)
class JoinedServer:
    name: str
    channels: Sequence[discord.abc.GuildChannel]
    """Categories too."""
    me: discord.Member
    """The bot in it."""


def find_account(token: str) -> Account:
    """Log in with a token; raises ConnectionRefused if Discord does not accept it, or DiscordUnreachable."""
    return asyncio.run(_find_account(token))


async def _find_account(token: str) -> Account:
    async with logged_in(token) as client:
        application = await client.application_info()
        flags = application.flags
        return Account(
            token=token,
            name=client.user.name if client.user else application.name,
            application_id=application.id,
            may_read_messages=flags.gateway_message_content or flags.gateway_message_content_limited,
            servers={server.id: server.name async for server in client.fetch_guilds(limit=None)},
        )


def fetch_server(token: str, server_id: int) -> JoinedServer:
    """Return a server that the bot is in; raises DiscordUnreachable."""
    return asyncio.run(_fetch_server(token, server_id))


async def _fetch_server(token: str, server_id: int) -> JoinedServer:
    async with logged_in(token) as client:
        assert client.user is not None
        guild = await client.fetch_guild(server_id)
        return JoinedServer(guild.name, await guild.fetch_channels(), await guild.fetch_member(client.user.id))
