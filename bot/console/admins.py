"""Finds the servers that a person administers, by asking Discord."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Coroutine, Sequence
from typing import Any

import discord

from bot.discord_errors import DISCORD_ERRORS
from bot.errors import UserFacingError
from bot.guards.access import allows_server, is_admin
from storage.settings.sections import Settings

log = logging.getLogger(__name__)

REMEMBERED_S = 60.0
"""Time for which a removed right may still work."""
FAILED_S = 5.0
"""Pause after a failed request before Discord is asked again."""


class RightsUnknown(UserFacingError):
    def __init__(self) -> None:
        super().__init__("I can't check with Discord whether you are still an admin. Try again in a minute.")


class _Lookup:
    """A running or recent look-up of memberships."""

    def __init__(self, asking: Coroutine[Any, Any, tuple[discord.Member, ...]]) -> None:
        self.found = asyncio.create_task(asking)
        self.found.add_done_callback(self._stamp)
        self.until_s = math.inf

    def _stamp(self, found: asyncio.Task[tuple[discord.Member, ...]]) -> None:
        has_failed = found.cancelled() or found.exception() is not None
        self.until_s = time.monotonic() + (FAILED_S if has_failed else REMEMBERED_S)


class AdminLookup:
    """Looks people up in the servers that the bot serves, and remembers the results for a minute."""

    def __init__(self, client: discord.Client, settings: Settings) -> None:
        self._client = client
        self._settings = settings
        self._lookups: dict[tuple[int, tuple[int, ...]], _Lookup] = {}
        """Look-ups by (user ID, server IDs)."""

    async def memberships(self, user_id: int, server_ids: Sequence[int]) -> tuple[discord.Member, ...]:
        """Return the user's memberships in those of the servers that they administer; raises RightsUnknown.

        Requests that come at once, as those of a page's parts, ask Discord once.
        """
        now_s, whose = time.monotonic(), (user_id, tuple(server_ids))
        self._lookups = {key: lookup for key, lookup in self._lookups.items() if now_s < lookup.until_s}
        if whose not in self._lookups:
            self._lookups[whose] = _Lookup(self.look_up(user_id, server_ids))
        return await asyncio.shield(self._lookups[whose].found)

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
        """Return the admin; None if the user isn't one, or if the bot does not serve the server."""
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
