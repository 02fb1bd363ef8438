"""Asks Discord over HTTP alone, as the bot, without connecting to the gateway."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

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
