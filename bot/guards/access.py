"""Checks access: only servers, channels and roles that the operator allowed can use the bot."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from zoneinfo import ZoneInfo

import discord
from discord import app_commands

from bot.discord_errors import DISCORD_ERRORS
from bot.recent import Recent
from bot.servers.setups import ServerSetups, places_around
from storage.runtime.shards import Shards
from storage.settings.sections import (
    EVERY_SERVER,
    AccessSettings,
    ChatSettings,
    DiscordSettings,
    Settings,
    parse_quiet_hours,
)
from storage.wording import gettext_noop

log = logging.getLogger(__name__)

ALWAYS_ALLOWED = frozenset({"privacy"})
"""Commands about people's own data, which everybody may use."""
MEMBERSHIP_S = 600.0
"""Time for which Discord's answer about a membership is remembered."""
NOTICE_PAUSE_S = 3_600.0


class DenialReason(StrEnum):
    SERVER = gettext_noop("I'm not enabled on this server yet. My operator has to allow it first.")
    CHANNEL = gettext_noop("I'm not enabled in this channel.")
    ROLE = gettext_noop("Here I only answer members with certain roles.")
    DIRECT = gettext_noop("I only answer direct messages from members of servers where I'm enabled.")


@dataclass(frozen=True)
class Requester:
    """A member's place and roles in a server; the roles are None where Discord omits them, as for removed reactions."""

    server_id: int
    channel_ids: frozenset[int]
    """The channel, its parent channel and its category."""
    role_ids: frozenset[int] | None
    is_admin: bool = False


def denial_of(requester: Requester, access: AccessSettings, chosen_roles: Collection[int] = ()) -> DenialReason | None:
    """Return the reason why a member may not use the bot in a server, or None.

    Server roles narrow the operator's rules, never widen them.
    """
    if not allows_server(requester.server_id, access):
        return DenialReason.SERVER
    if access.channels and requester.channel_ids.isdisjoint(access.channels):
        return DenialReason.CHANNEL
    if requester.is_admin or requester.role_ids is None or _have_a_role(requester.role_ids, access.roles, chosen_roles):
        return None
    return DenialReason.ROLE


def _have_a_role(role_ids: frozenset[int], *limits: Collection[int]) -> bool:
    """Return whether the roles contain one of each limit; an empty one limits nothing."""
    return all(not limit or not role_ids.isdisjoint(limit) for limit in limits)


def allows_server(server_id: int, access: AccessSettings) -> bool:
    return server_id in access.servers or EVERY_SERVER in access.servers


def who_is_not_allowed(guilds: Sequence[discord.Guild], access: AccessSettings) -> list[str]:
    """Return a sentence for each server that is not allowed, with the line for reactune.toml; or that there is none."""
    if not guilds:
        return [
            "The bot is not in any server yet: invite it with the link in the README (Host it). The log then shows the "
            "line that allows the server in reactune.toml."
        ]
    return [
        f'The server "{guild.name}" ({guild.id}) is not allowed. To allow it, set '
        f"access.servers = {sorted({*access.servers, guild.id})} in reactune.toml and restart the bot."
        for guild in guilds
        if not allows_server(guild.id, access)
    ]


class AccessPolicy:
    """Checks who may use the bot; remembers memberships for a while."""

    def __init__(self, client: discord.Client, settings: Settings, shards: Shards, setups: ServerSetups) -> None:
        self._client = client
        self._setups = setups
        self._access = settings.access
        self._discord = settings.discord
        self._shards = shards
        self._members = Recent[tuple[float, bool]]()
        self._noticed = Recent[float]()

    async def refusal(
        self, user: discord.User | discord.Member, guild_id: int | None, channel: object
    ) -> DenialReason | None:
        """Return the reason why the author of a message or an interaction may not use the bot, or None."""
        if guild_id is None:
            return None if await self.may_write_directly(user.id) else DenialReason.DIRECT
        return self._denial_of(self._requester(user, guild_id, channel))

    def _denial_of(self, requester: Requester) -> DenialReason | None:
        return denial_of(requester, self._access, self._setups.of(requester.server_id).roles)

    def may_react(self, payload: discord.RawReactionActionEvent) -> bool:
        """Return whether an added reaction counts, which bots' never do.

        In direct messages every answer was given to an allowed member.
        """
        me = self._client.user
        by_a_bot = (me is not None and payload.user_id == me.id) or (payload.member is not None and payload.member.bot)
        return not by_a_bot and self.is_open(payload.guild_id, payload.channel_id, payload.member)

    def serves_several_servers(self) -> bool:
        """Return whether a change to something shared also affects another server."""
        served = [guild for guild in self._client.guilds if allows_server(guild.id, self._access)]
        return len(served) > 1 or not self._shards.are_all

    def is_open(self, guild_id: int | None, channel_id: int, member: discord.Member | None = None) -> bool:
        """Return whether the channel is allowed, for the member if one is given."""
        if guild_id is None:
            return self._access.direct_messages
        requester = self._requester(member, guild_id, self._client.get_channel(channel_id), channel_id)
        return self._denial_of(requester) is None

    async def has_allowed_role(self, guild_id: int | None, user_id: int) -> bool:
        """Return whether the author of a reaction that is found later has an allowed role."""
        guild = self._client.get_guild(guild_id) if guild_id else None
        return guild is None or not self._limits(guild) or bool(await self._is_served_in(guild, user_id))

    def should_notify(self, channel_id: int) -> bool:
        """Return whether a refusal may be sent to the channel now: at most once an hour."""
        now_s = time.monotonic()
        if now_s - self._noticed.get(channel_id, -NOTICE_PAUSE_S) < NOTICE_PAUSE_S:
            return False
        self._noticed[channel_id] = now_s
        return True

    def _requester(
        self, user: discord.User | discord.Member | None, guild_id: int, channel: object, channel_id: int = 0
    ) -> Requester:
        member = user if isinstance(user, discord.Member) else None
        return Requester(
            server_id=guild_id,
            channel_ids=frozenset(id_ for id_ in (channel_id, *places_around(channel)) if id_),
            role_ids=frozenset(role.id for role in member.roles) if member else None,
            is_admin=member is not None and is_admin(member, self._discord),
        )

    async def may_write_directly(self, user_id: int) -> bool:
        """Return whether somebody may write direct messages: current members of an allowed server may."""
        if not self._access.direct_messages:
            return False
        known = self._members.get(user_id)
        if known is not None and time.monotonic() <= known[0]:
            return known[1]
        is_member = await self._is_member(user_id)
        if is_member is not None:
            self._members[user_id] = (time.monotonic() + MEMBERSHIP_S, is_member)
        return bool(is_member)

    async def _is_member(self, user_id: int) -> bool | None:
        """Return whether somebody is a member of an allowed server; None if Discord did not say so."""
        if EVERY_SERVER in self._access.servers and not any(self._limits(guild) for guild in self._client.guilds):
            return True  # Discord only delivers messages from people who share a server with the bot
        is_uncertain = False
        for guild in self._client.guilds:
            if allows_server(guild.id, self._access):
                is_served = await self._is_served_in(guild, user_id)
                if is_served:
                    return True
                is_uncertain |= is_served is None
        return None if is_uncertain else False

    async def _is_served_in(self, guild: discord.Guild, user_id: int) -> bool | None:
        try:
            member = guild.get_member(user_id) or await guild.fetch_member(user_id)
        except discord.NotFound:
            return False
        except DISCORD_ERRORS as error:
            log.warning("Discord did not answer whether %s is a member of %s: %s", user_id, guild.id, error)
            return None
        role_ids = frozenset(role.id for role in member.roles)
        return is_admin(member, self._discord) or _have_a_role(role_ids, *self._limits(guild))

    def _limits(self, guild: discord.Guild) -> list[Collection[int]]:
        """Return the lists of roles from each of which a member needs one."""
        return [roles for roles in (self._access.roles, self._setups.of(guild.id).roles) if roles]


class NotAnAdmin(app_commands.CheckFailure):
    def __init__(self) -> None:
        super().__init__(
            gettext_noop("Only admins can do this: it needs Manage Server, or a role that the operator allowed.")
        )


def require_admin(user: discord.User | discord.Member, settings: DiscordSettings) -> None:
    """Raise NotAnAdmin unless the user is an admin."""
    if not is_admin(user, settings):
        raise NotAnAdmin


def is_admin(user: discord.User | discord.Member, settings: DiscordSettings) -> bool:
    """Return whether the user has Manage Server, or one of discord.admin_roles, in this server."""
    if not isinstance(user, discord.Member):
        return False
    return user.guild_permissions.manage_guild or has_named_role(user, settings)


def has_named_role(user: discord.User | discord.Member, settings: DiscordSettings) -> bool:
    """Return whether the user has one of discord.admin_roles."""
    return isinstance(user, discord.Member) and any(role.id in settings.admin_roles for role in user.roles)


def user_label(user: discord.User | discord.Member) -> str:
    """Return the name of an admin for the audit trail."""
    return f"{user.name} ({user.id})"[:64]


def is_quiet(settings: ChatSettings, at: datetime) -> bool:
    """Return whether a moment is in the quiet hours, which may go past midnight.

    In them the bot answers those who call it, and starts nothing by itself.
    """
    hours = parse_quiet_hours(settings.quiet_hours)
    if hours is None:
        return False
    start, end = hours
    now = at.astimezone(ZoneInfo(settings.time_zone)).time()
    return start <= now < end if start < end else now >= start or now < end
