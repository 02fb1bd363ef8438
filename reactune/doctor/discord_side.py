"""Checks of Discord's settings, of the bot's login there, and of personalities' appearance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import discord

from bot.arenas.host import arena_trigger
from bot.errors import BotError
from bot.guards.access import allows_server
from bot.personalities.webhooks import INTENT_NEEDED
from bot.runner import NO_INTENT, NO_MEMBERS_INTENT, require_token
from reactune.discord_api import logged_in
from reactune.doctor.findings import Hint, Problem
from reactune.shared import reading
from storage.personalities.personalities import Personality, list_personalities
from storage.servers import list_setups
from storage.settings.sections import EVERY_SERVER, ArenaSettings, DiscordSettings, Settings
from storage.wording import count

USERS_WITHOUT_REVIEW = 10_000
"""Unique users across all servers; above this number Discord reviews privileged intents (since 10 June 2026)."""
ID_DIGITS = range(17, 21)
"""Digits of a Discord ID, from Discord's first years to the largest possible ID."""
SERVERS_AT_ONCE = 200  # Discord's limit


def check_access_list(settings: Settings) -> str:
    access = settings.access
    servers = [server for server in access.servers if server != EVERY_SERVER]
    listed = {
        "access.servers": servers,
        "access.channels": access.channels,
        "access.roles": access.roles,
        "chat.channel_rules": settings.chat.channel_rules,
    }
    for setting, ids in listed.items():
        for id_ in ids:
            _require_id(setting, id_)
    if not access.servers:
        raise Problem(
            "the bot serves nobody, because access.servers is empty: run `reactune init`, or start the bot, "
            "invite it to your server, and copy the line for reactune.toml from its log"
        )
    whom = "every server that invites it" if EVERY_SERVER in access.servers else count(len(access.servers), "server")
    limits = [count(len(ids), word) for ids, word in ((access.channels, "channel"), (access.roles, "role")) if ids]
    direct = "direct messages too" if access.direct_messages else "no direct messages"
    return ", ".join([whom, *(f"only {limit}" for limit in limits), direct])


def check_setups(settings: Settings) -> str:
    """Return a phrase on the servers that made their own choices with `/setup`."""
    with reading(settings) as session:
        setups = list_setups(session)
    if not setups:
        return "none has used /setup, so these settings hold in all"
    for setup in setups:
        if not allows_server(setup.guild_id, settings.access):
            raise Hint(f"server {setup.guild_id} was set up by {setup.chosen_by}, but access.servers does not list it")
    listed = ", ".join(f"{setup.guild_id} (by {setup.chosen_by})" for setup in setups)
    return f"{count(len(setups), 'server')} with choices of {'its' if len(setups) == 1 else 'their'} own: {listed}"


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
    """Log in as the bot, without connecting to the gateway, and check its privileged intents."""
    token = require_token(settings)
    try:
        async with logged_in(token) as client:
            flags = (await client.application_info()).flags
            _require_intents(flags, settings.discord)
            return await _describe_intents(client, flags, settings.discord)
    except BotError as error:
        raise Problem(str(error)) from error


def _require_intents(flags: discord.ApplicationFlags, settings: DiscordSettings) -> None:
    """Raise Problem if the settings request an intent that this application may not use."""
    if settings.message_content_intent and not (flags.gateway_message_content or flags.gateway_message_content_limited):
        raise Problem(NO_INTENT)
    if settings.members_intent and not (flags.gateway_guild_members or flags.gateway_guild_members_limited):
        raise Problem(NO_MEMBERS_INTENT)


async def _describe_intents(client: discord.Client, flags: discord.ApplicationFlags, settings: DiscordSettings) -> str:
    """Return a phrase on Discord's review of the requested privileged intents; raises Hint if one may be due."""
    approvals = []
    if settings.message_content_intent:
        approvals.append(flags.gateway_message_content)
    if settings.members_intent:
        approvals.append(flags.gateway_guild_members)
    if not approvals:
        return "accepted by Discord; no privileged intents are requested"
    if all(approvals):
        return "accepted by Discord and approved for its privileged intents; apply again when Discord asks, once a year"
    # An upper bound: Discord counts a user in two servers once, and does not tell bots that number.
    members = sum([server.approximate_member_count or 0 async for server in client.fetch_guilds(limit=None)])
    reach = f"accepted by Discord; its servers have about {count(members, 'member')}"
    if members > USERS_WITHOUT_REVIEW:
        raise Hint(
            f"{reach}, and above {USERS_WITHOUT_REVIEW:,} different users Discord reviews privileged intents: when it "
            "asks, apply within 90 days in the developer portal, and again each year"
        )
    return f"{reach}, and its privileged intents need no review up to {USERS_WITHOUT_REVIEW:,} different users"


@dataclass(frozen=True)
class _JoinedServer:
    id: int
    name: str
    permissions: discord.Permissions
    """The bot's permissions in the server; a channel can still deny them."""


async def check_appearances(settings: Settings) -> str:
    """Return a phrase; raises Hint if personalities with a name or a picture speak as the bot itself somewhere."""
    with reading(settings) as session:
        dressed = [one for one in list_personalities(session) if one.has_appearance]
    if not dressed:
        return "no personality has a name or a picture of its own"
    if not settings.discord.message_content_intent:
        raise Hint(f"{_who_speak(dressed)} as the bot itself; to change that, {INTENT_NEEDED}")
    servers = await _fetch_servers(require_token(settings))
    known = [(server, [one for one in dressed if one.guild_id in (None, server.id)]) for server in servers]
    concerned = [(server, there) for server, there in known if there]
    without = [(server, there) for server, there in concerned if not server.permissions.manage_webhooks]
    if without:
        who = _who_speak([one for one in dressed if any(one in there for _, there in without)])
        where = f"{count(len(without), 'server')} of {len(concerned)} ({', '.join(s.name for s, _ in without[:5])})"
        raise Hint(
            f"{who} as the bot itself in {where}, where the bot has no permission Manage Webhooks: give it to the "
            "bot's role, or invite the bot again with the link in the README"
        )
    return f"{_who_speak(dressed)} with a name or a picture of their own in {count(len(concerned), 'server')}"


def _who_speak(personalities: Sequence[Personality]) -> str:
    return f"{', '.join(one.name for one in personalities)} {'speaks' if len(personalities) == 1 else 'speak'}"


async def _fetch_servers(token: str) -> list[_JoinedServer]:
    """Return the bot's servers; raises Hint if Discord cannot be asked, of which the check of the token says more."""
    servers: list[_JoinedServer] = []
    try:
        async with logged_in(token) as client:
            more = True
            while more:  # `fetch_guilds` does not tell the permissions
                after = servers[-1].id if servers else None
                page = await client.http.get_guilds(SERVERS_AT_ONCE, after=after)
                servers += [
                    _JoinedServer(int(one["id"]), one["name"], discord.Permissions(int(one.get("permissions", 0))))
                    for one in page
                ]
                more = len(page) == SERVERS_AT_ONCE
    except BotError as error:
        raise Hint("not checked, because Discord did not answer") from error
    return servers
