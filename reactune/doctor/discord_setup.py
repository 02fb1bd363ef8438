"""Checks of the set-up in Discord: the token, who may use the bot, channels, arenas."""

from __future__ import annotations

import asyncio

import discord

from bot.arenas.schedule import arena_trigger
from bot.runner import BAD_TOKEN, NO_INTENT, NO_MEMBERS_INTENT, require_token
from reactune.doctor.findings import Problem
from storage.settings.sections import EVERY_SERVER, ArenaSettings, Settings
from storage.wording import count

DISCORD_TIMEOUT_S = 15.0
ID_DIGITS = range(17, 21)
"""Digits of a Discord ID, from Discord's first years to the largest possible ID."""


def check_access_list(settings: Settings) -> str:
    access = settings.access
    named = {
        "access.servers": [server for server in access.servers if server != EVERY_SERVER],
        "access.channels": access.channels,
        "access.roles": access.roles,
    }
    for key, ids in named.items():
        for id_ in ids:
            _require_id(key, id_)
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
            raise Problem(f"Discord cannot be reached ({error!r}): check the network") from error
    if settings.discord.message_content_intent and not (
        flags.gateway_message_content or flags.gateway_message_content_limited
    ):
        raise Problem(NO_INTENT)
    if settings.discord.members_intent and not (flags.gateway_guild_members or flags.gateway_guild_members_limited):
        raise Problem(NO_MEMBERS_INTENT)
    return "accepted by Discord"
