"""The bot's account on Discord: its token, intents and servers, over HTTP alone."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

import discord

from bot.discord_errors import DISCORD_ERRORS
from bot.errors import ConnectionRefused, DiscordUnreachable
from bot.runner import BAD_TOKEN, UNREACHABLE

TIMEOUT_S = 15.0


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


def look_up(token: str) -> Account:
    """Log in with a token; raises ConnectionRefused if Discord does not accept it, or DiscordUnreachable."""
    return asyncio.run(_look_up(token))


async def _look_up(token: str) -> Account:
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


@contextlib.asynccontextmanager
async def logged_in(token: str) -> AsyncIterator[discord.Client]:
    """Yield a client that is logged in and not connected to the gateway; the block may take `TIMEOUT_S`."""
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
