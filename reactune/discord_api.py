"""Asks Discord over HTTP alone, without connecting to the gateway: the bot's account, its intents and its servers."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

import discord

from bot.discord_errors import DISCORD_ERRORS
from bot.errors import ConnectionRefused, DiscordUnreachable
from bot.runner import BAD_TOKEN, UNREACHABLE

TIMEOUT_S = 15.0


@contextlib.asynccontextmanager
async def logged_in(token: str) -> AsyncIterator[discord.Client]:
    """Yield a client that is logged in; the block may take `TIMEOUT_S`.

    Raises ConnectionRefused if Discord does not accept the token, or DiscordUnreachable.
    """
    async with discord.Client(intents=discord.Intents(guilds=True)) as client:
        try:
            async with asyncio.timeout(TIMEOUT_S):
                await client.login(token)
                yield client
        except discord.LoginFailure as error:
            raise ConnectionRefused(BAD_TOKEN) from error
        except (TimeoutError, *DISCORD_ERRORS) as error:
            reason = str(error) or f"no answer within {TIMEOUT_S:.0f} s"
            raise DiscordUnreachable(f"{UNREACHABLE} ({reason})") from error


@dataclass(frozen=True)
class Account:
    """A bot that Discord let in."""

    token: str
    name: str
    application_id: int
    may_read_messages: bool
    """Whether the message content intent is on."""
    servers: dict[int, str]
    """Names of the bot's servers, by ID."""


@dataclass(frozen=True)
class JoinedServer:
    name: str
    channels: Sequence[discord.abc.GuildChannel]
    """Channels, including categories."""
    me: discord.Member


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
