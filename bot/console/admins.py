"""Which servers somebody administers, and which channels they see there, as Discord tells the bot."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence

import discord

from bot.discord_errors import DISCORD_ERRORS
from bot.errors import UserFacingError
from bot.guards.access import allows_server, is_admin
from storage.settings.sections import Settings

log = logging.getLogger(__name__)

REMEMBERED_S = 60.0
"""How long a right that was taken away may still work."""


class RightsUnknown(UserFacingError):
    def __init__(self) -> None:
        super().__init__("I can't check with Discord whether you are still an admin. Try again in a minute.")


class AdminLookup:
    """Looks people up in the servers that the bot serves, and remembers what it found for a minute."""

    def __init__(self, client: discord.Client, settings: Settings) -> None:
        self._client = client
        self._settings = settings
        self._remembered: dict[tuple[int, tuple[int, ...]], tuple[float, tuple[discord.Member, ...]]] = {}
        """{(user, servers): (until when, what was found)}"""

    async def memberships(self, user_id: int, server_ids: Sequence[int]) -> tuple[discord.Member, ...]:
        """Return who they are in those of the servers that they administer; raises RightsUnknown."""
        now_s, whose = time.monotonic(), (user_id, tuple(server_ids))
        self._remembered = {key: found for key, found in self._remembered.items() if now_s < found[0]}
        if whose not in self._remembered:
            self._remembered[whose] = now_s + REMEMBERED_S, await self.look_up(user_id, server_ids)
        return self._remembered[whose][1]

    async def look_up(self, user_id: int, server_ids: Sequence[int]) -> tuple[discord.Member, ...]:
        """Like `memberships`, but ask Discord anew."""
        if not self._client.is_ready():
            raise RightsUnknown  # which servers there are is not known yet
        found = await asyncio.gather(*(self._admin_in(server_id, user_id) for server_id in server_ids))
        members = tuple(one for one in found if isinstance(one, discord.Member))
        if not members and any(isinstance(one, RightsUnknown) for one in found):
            raise RightsUnknown
        return members

    async def _admin_in(self, server_id: int, user_id: int) -> discord.Member | RightsUnknown | None:
        """Return the admin, or None if they are none, or if the bot does not serve the server."""
        guild = self._client.get_guild(server_id)
        if guild is None or not allows_server(server_id, self._settings.access):
            return None
        if guild.unavailable:
            return RightsUnknown()
        try:
            # Not from the cache: without the members intent, nobody tells the bot of a role that was taken away.
            member = await guild.fetch_member(user_id)
        except discord.NotFound:
            return None
        except DISCORD_ERRORS as error:
            log.warning("Discord did not answer whether %s is an admin of %s: %s", user_id, server_id, error)
            return RightsUnknown()
        return member if is_admin(member, self._settings.discord) else None


def visible_channels(member: discord.Member) -> frozenset[int]:
    """Return the channels and open threads of the server that the member can see.

    A private thread needs Manage Threads: Discord does not tell every bot who is in it. Nor does it list archived
    threads.
    """
    seen = {channel.id for channel in member.guild.channels if channel.permissions_for(member).view_channel}
    threads = (thread for thread in member.guild.threads if thread.parent_id in seen)
    return frozenset(seen | {thread.id for thread in threads if not thread.is_private() or _manages(thread, member)})


def _manages(thread: discord.Thread, member: discord.Member) -> bool:
    return thread.parent is not None and thread.parent.permissions_for(member).manage_threads
