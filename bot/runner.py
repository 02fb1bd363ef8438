"""Runs one bot process: its locks, its signals, and its reaction to a refusal by Discord."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from collections.abc import Callable, Coroutine, Iterator
from contextlib import closing
from typing import Any

import discord
from sqlalchemy.exc import DBAPIError

from bot.app import ReactuneBot
from bot.discord_errors import DISCORD_ERRORS
from bot.errors import ConnectionRefused, DiscordUnreachable
from bot.operations.alerts import TOKEN
from storage.database.database import open_database
from storage.errors import DatabaseError
from storage.operations.alerts import raise_alert
from storage.runtime.processes import sole_process, sole_token, worker_name
from storage.runtime.shards import shards_of
from storage.settings.sections import TOKEN_VARIABLE, Settings

log = logging.getLogger(__name__)

AUTHENTICATION_FAILED = 4004
"""Discord's close code for a token that is not, or no longer, valid."""
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)
NO_TOKEN = (
    f"{TOKEN_VARIABLE} is not set: run `reactune init`, or copy .env.example to .env and put the bot's token there "
    "(Discord developer portal, your application, Bot, Reset Token), or try `reactune demo`, which needs no token"
)
BAD_TOKEN = (
    f"Discord does not accept {TOKEN_VARIABLE}: copy the token again "
    "(Discord developer portal, your application, Bot, Reset Token) into .env"
)
NO_INTENT = (
    "The message content intent is not enabled for this bot, so it answers only mentions, direct messages and replies "
    "that ping it. Enable it (Discord developer portal, your application, Bot, Message Content Intent) and restart, "
    "or set discord.message_content_intent = false to stop this warning."
)
NO_MEMBERS_INTENT = (
    "The server members intent is not enabled for this bot, so departures are noticed only once a day. Enable it "
    "(Discord developer portal, your application, Bot, Server Members Intent) and restart, or set "
    "discord.members_intent = false to stop this warning."
)
UNREACHABLE = "Discord cannot be reached: check this machine's network, then start again"


def run_bot(settings: Settings, create: Callable[[Settings], ReactuneBot] = ReactuneBot) -> None:
    """Serve Discord until SIGINT or SIGTERM.

    Raises ConnectionRefused, DiscordUnreachable or a StorageError, each with what to do.
    """
    token = require_token(settings)
    with _locks(settings, token):
        try:
            try:
                asyncio.run(_serve(create(settings), token))
            except discord.PrivilegedIntentsRequired:
                asyncio.run(_serve_without(settings, create, token))
        except ConnectionRefused:
            _note_refusal(settings)
            raise


@contextlib.contextmanager
def _locks(settings: Settings, token: str) -> Iterator[None]:
    """Hold the locks of this process's shards, in the data folder and on this machine."""
    with contextlib.ExitStack() as stack:
        for shard in shards_of(settings.discord).names:
            stack.enter_context(sole_process(shard.replace("/", "-of-"), settings.data.directory))
            stack.enter_context(sole_token(token, shard))
        yield


def _note_refusal(settings: Settings) -> None:
    """Store an alert for admins, which is sent once the bot is back: without a token it cannot send it now."""
    try:
        with closing(open_database(settings)) as database, database.transaction() as session:
            raise_alert(session, worker_name(settings.data.directory), TOKEN)
    except (DBAPIError, DatabaseError) as error:
        log.warning("Admins will not be alerted about the refused token: %s", error)


def require_token(settings: Settings) -> str:
    """Return the token; raises ConnectionRefused without one."""
    token = settings.discord_token.get_secret_value().strip() if settings.discord_token else ""
    if not token:
        raise ConnectionRefused(NO_TOKEN)
    return token


def stop_on_signals(stop: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """On SIGINT or SIGTERM, run `stop` on the running loop; a second signal ends the process at once."""
    loop = asyncio.get_running_loop()
    stopping: list[asyncio.Task[None]] = []

    def begin() -> None:
        for name in STOP_SIGNALS:
            loop.remove_signal_handler(name)
        stopping.append(loop.create_task(stop(), name="stop"))

    for name in STOP_SIGNALS:
        with contextlib.suppress(NotImplementedError):  # Windows, where Ctrl-C raises KeyboardInterrupt
            loop.add_signal_handler(name, begin)


async def _serve(bot: ReactuneBot, token: str) -> None:
    async with bot:
        serving = asyncio.create_task(bot.start(token), name="serve")

        async def stop() -> None:
            if bot.is_ready():
                await bot.close()
            else:
                serving.cancel()  # closing the bot while it opens its parts would leave some of them open

        stop_on_signals(stop)
        try:
            await serving
        except asyncio.CancelledError:
            pass  # stopped before it was ready
        except discord.LoginFailure as error:
            raise ConnectionRefused(BAD_TOKEN) from error
        except discord.ConnectionClosed as error:
            if error.code == AUTHENTICATION_FAILED:  # the token was reset while the bot ran
                raise ConnectionRefused(BAD_TOKEN) from error
            raise DiscordUnreachable(f"{UNREACHABLE} ({error})") from error
        except (*DISCORD_ERRORS, discord.GatewayNotFound) as error:
            raise DiscordUnreachable(f"{UNREACHABLE} ({error})") from error
        if bot.failure:
            raise bot.failure
        log.info("Stopped.")


async def _serve_without(settings: Settings, create: Callable[[Settings], ReactuneBot], token: str) -> None:
    """Serve with fewer intents, the less important one dropped first: Discord does not say which one is missing."""
    if settings.discord.members_intent:
        log.warning(NO_MEMBERS_INTENT)
        settings = _without(settings, "members_intent")
        try:
            return await _serve(create(settings), token)
        except discord.PrivilegedIntentsRequired:
            pass
    log.warning(NO_INTENT)
    return await _serve(create(_without(settings, "message_content_intent")), token)


def _without(settings: Settings, intent: str) -> Settings:
    plain = settings.discord.model_copy(update={intent: False})
    return settings.model_copy(update={"discord": plain})
