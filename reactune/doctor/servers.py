"""Checks of Discord's settings and of remote model servers."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import discord

from bot.arenas.host import arena_trigger
from bot.engine.remote.adapter_loading import NO_ROUTE, NO_UPDATES, is_file_of, version_missing
from bot.engine.remote.replicas import problem_of, served_models
from bot.engine.remote.server import Refused, Server, ServerError, open_session
from bot.runner import BAD_TOKEN, NO_INTENT, NO_MEMBERS_INTENT, require_token
from reactune.doctor.findings import Problem
from reactune.shared import reading
from storage.adapters.folder_store import AdapterRef
from storage.database.columns import utc_now
from storage.operations import token_spend
from storage.settings.sections import EVERY_SERVER, ArenaSettings, RemoteSettings, Settings
from storage.wording import count

DISCORD_TIMEOUT_S = 15.0
ID_DIGITS = range(17, 21)
"""Digits of a Discord ID, from Discord's first years to the largest possible ID."""


def check_access_list(settings: Settings) -> str:
    access = settings.access
    servers = [server for server in access.servers if server != EVERY_SERVER]
    for key, ids in (("servers", servers), ("channels", access.channels), ("roles", access.roles)):
        for id_ in ids:
            _require_id(f"access.{key}", id_)
    if not access.servers:
        raise Problem(
            "the bot serves nobody, because access.servers is empty: start the bot, invite it to your server, and copy "
            "the line for config.toml from its log"
        )
    whom = "every server that invites it" if EVERY_SERVER in access.servers else count(len(access.servers), "server")
    limits = [count(len(ids), word) for ids, word in ((access.channels, "channel"), (access.roles, "role")) if ids]
    direct = "direct messages too" if access.direct_messages else "no direct messages"
    return ", ".join([whom, *(f"only {limit}" for limit in limits), direct])


def check_arenas(settings: ArenaSettings) -> str:
    if arena_trigger(settings) is None:
        return "started by admins only"
    return f"scheduled at {settings.schedule} UTC in channel {settings.channel}"


def check_channel(setting: str, channel: int) -> str:
    if not channel:
        return f"off ({setting} = 0)"
    _require_id(setting, channel)
    return f"in channel {channel}"


def _require_id(setting: str, id_: int) -> None:
    """Raise Problem if the number cannot be a Discord ID."""
    if len(str(id_)) not in ID_DIGITS:
        raise Problem(
            f"{setting} contains {id_}, which is not a Discord ID: IDs have {ID_DIGITS[0]} to {ID_DIGITS[-1]} digits "
            "(in Discord: Developer Mode, right-click, Copy ID)"
        )


async def check_token(settings: Settings) -> str:
    """Log in as the bot, without connecting to the gateway."""
    token = require_token(settings)
    async with discord.Client(intents=discord.Intents.none()) as client:
        try:
            async with asyncio.timeout(DISCORD_TIMEOUT_S):
                await client.login(token)
                flags = (await client.application_info()).flags
        except discord.LoginFailure as error:
            raise Problem(BAD_TOKEN) from error
        except (TimeoutError, OSError, discord.HTTPException) as error:
            reason = str(error) or f"no answer within {DISCORD_TIMEOUT_S:.0f} s"
            raise Problem(f"Discord cannot be reached ({reason}): check the network") from error
    if settings.discord.message_content_intent and not (
        flags.gateway_message_content or flags.gateway_message_content_limited
    ):
        raise Problem(NO_INTENT)
    if settings.discord.members_intent and not (flags.gateway_guild_members or flags.gateway_guild_members_limited):
        raise Problem(NO_MEMBERS_INTENT)
    return "accepted by Discord"


def examine_servers(settings: Settings, champions: Sequence[AdapterRef]) -> str:
    """Return a phrase about each server; raises Problem if one of them needs the operator.

    `champions` are the current champions: llama.cpp servers must have been started with them.
    """
    found = asyncio.run(_examine(settings, champions))
    working = [phrase for phrase in found if isinstance(phrase, str)]
    problems = [problem_of(error) for error in found if isinstance(error, ServerError)]
    if problems:
        raise Problem("; ".join(problems + working))
    return "; ".join(working)


async def _examine(settings: Settings, champions: Sequence[AdapterRef]) -> list[str | ServerError]:
    """Return for each server a phrase, or what is wrong with it."""

    async def look(url: str) -> str | ServerError:
        try:
            return await _describe_server(Server(url, session, settings.remote), settings.remote, champions)
        except ServerError as error:
            return error

    async with open_session(settings) as session:
        return await asyncio.gather(*map(look, settings.remote.servers))


async def _describe_server(server: Server, settings: RemoteSettings, champions: Sequence[AdapterRef]) -> str:
    models = await served_models(server, settings)
    model = settings.model or next(iter(models), "an unnamed model")
    return f"{server.url} serves {model}, {await _versions(server, settings, champions)}"


async def _versions(server: Server, settings: RemoteSettings, champions: Sequence[AdapterRef]) -> str:
    if settings.kind == "openai":
        return "base model only"
    if settings.kind == "vllm":
        return await _loads_versions(server)
    listed = await server.get("/lora-adapters") or []
    for champion in champions:
        if not any(is_file_of(champion, entry) for entry in listed):
            raise version_missing(server.url, champion)
    return f"with {count(len(listed), 'adapter')}"


async def _loads_versions(server: Server) -> str:
    """Raise ServerError unless the server can load versions; one that can rejects unloading a nameless version."""
    try:
        await server.post("/v1/unload_lora_adapter", {"lora_name": ""}, 5.0)
    except Refused as error:
        if error.message == NO_ROUTE:
            raise ServerError(server.url, NO_UPDATES) from error
    return "loads versions"


def check_spending(settings: Settings) -> str:
    with reading(settings) as session:
        spent = token_spend.spent_on(session, utc_now().date())
    described = token_spend.describe_spend(spent, settings.remote)
    if token_spend.is_used_up(spent, settings.remote):
        raise Problem(
            f"{described}: the bot does not answer before midnight UTC; to continue now, raise remote.tokens_per_day "
            "and restart the bot"
        )
    return described
