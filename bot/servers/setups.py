"""Keeps the choices of each server's admins in memory, so that a member's message does not cost a query."""

from __future__ import annotations

import asyncio

import discord

from storage.database.database import Database
from storage.database.enums import Rule
from storage.servers import ServerChoices, ServerSetup, choices_of, list_setups
from storage.settings.sections import Settings

NOTHING_CHOSEN = ServerChoices()


class ServerSetups:
    def __init__(self, database: Database) -> None:
        self._database = database
        self._found: dict[int, ServerSetup] = {}
        self._loading = asyncio.Lock()

    async def load(self) -> None:
        """Read the choices that this and other processes have stored."""
        async with self._loading:  # an older state must not come last
            setups = await self._database.read(list_setups)
            self._found = {setup.guild_id: setup for setup in setups}

    def find(self, guild_id: int) -> ServerSetup | None:
        """Return the server's setup; None if the operator's settings hold there."""
        return self._found.get(guild_id)

    def of(self, guild_id: int) -> ServerChoices:
        """Return the server's choices; if it has none, those that limit and start nothing."""
        found = self._found.get(guild_id)
        return found.choices if found else NOTHING_CHOSEN

    def all(self) -> list[ServerSetup]:
        return list(self._found.values())


def places_around(channel: object) -> list[int]:
    """Return the IDs of the thread, its channel and its category, as far as there are any; the nearest choice holds."""
    holder = channel.parent if isinstance(channel, discord.Thread) else channel
    found = (getattr(channel, "id", None), getattr(channel, "parent_id", None), getattr(holder, "category_id", None))
    return [id_ for id_ in found if id_]


def rule_in(channel: object, settings: Settings, setups: ServerSetups) -> Rule:
    """Return the rule for answers in a channel, from its server's choices or else from the operator's settings."""
    guild = getattr(channel, "guild", None)
    setup = setups.find(guild.id) if isinstance(guild, discord.Guild) else None
    return rule_at(setup.choices if setup else choices_of(settings, places_around(channel)), channel)


def rule_at(choices: ServerChoices, channel: object) -> Rule:
    return next((choices.rules[id_] for id_ in places_around(channel) if id_ in choices.rules), choices.elsewhere)
