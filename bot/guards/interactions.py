"""Commands, forms and buttons: they check access before they act, and answer errors with a sentence."""

from __future__ import annotations

import contextlib
from abc import abstractmethod
from re import Match
from typing import Any, ClassVar, Self

import discord
from discord import app_commands

from bot.guards.access import ALWAYS_ALLOWED
from bot.guards.audit import is_for_admins
from bot.guards.error_handler import answer_privately, member_message, report_error
from bot.guards.rate_limit import RateLimited
from bot.services import Services, services_of
from storage.runtime.request_ids import begin_request


async def check_access(interaction: discord.Interaction) -> bool:
    """Return whether whoever acts is served; else tell them why not."""
    services = services_of(interaction)
    refusal = await services.access.refusal(interaction.user, interaction.guild_id, interaction.channel)
    if refusal is not None and interaction.type is not discord.InteractionType.autocomplete:
        with contextlib.suppress(discord.HTTPException):
            await interaction.response.send_message(refusal.value, ephemeral=True)
    return refusal is None


class Form(discord.ui.Modal):
    """A form that waits as long as its reader does, and answers an error with a sentence."""

    action: ClassVar[str] = ""
    """What it does with an admin's rights, for the audit trail; empty for members' forms."""

    async def interaction_check(self, interaction: discord.Interaction, /) -> bool:
        begin_request()
        if not await check_access(interaction):
            return False
        self.require(interaction)
        return True

    def require(self, interaction: discord.Interaction) -> None:
        """Raise unless whoever sends it may: a right may have gone since the form was opened."""

    def __init__(self, *, title: str) -> None:
        super().__init__(title=title, timeout=None)

    async def on_error(self, interaction: discord.Interaction, error: Exception, /) -> None:  # type: ignore[override]
        await report_error(interaction, error, self.action)


class PersistentButton(discord.ui.DynamicItem[discord.ui.Button[discord.ui.View]], template=r"(?!)"):
    """A button that works after a restart too: its custom id holds all it needs.

    It checks access before it acts, and answers an error with a sentence. A subclass gives its own `template`.
    """

    action: str = ""
    """What it does with an admin's rights, for the audit trail; empty for members' buttons."""

    def __init__(self, custom_id: str, label: str, style: discord.ButtonStyle = discord.ButtonStyle.secondary) -> None:
        super().__init__(discord.ui.Button(label=label, style=style, custom_id=custom_id))

    @classmethod
    @abstractmethod
    def parse(cls, match: Match[str]) -> Self:
        """Return the button whose custom id matched the template."""

    @abstractmethod
    async def press(self, interaction: discord.Interaction, services: Services) -> None: ...

    @classmethod
    async def from_custom_id(
        cls, _interaction: discord.Interaction, _item: discord.ui.Item[Any], match: Match[str], /
    ) -> Self:
        return cls.parse(match)

    async def interaction_check(self, interaction: discord.Interaction, /) -> bool:
        return await check_access(interaction)

    async def callback(self, interaction: discord.Interaction) -> None:
        try:
            await self.press(interaction, services_of(interaction))
        except Exception as error:
            await report_error(interaction, error, self.action)


class AuditedCommandTree(app_commands.CommandTree[discord.Client]):
    """Asks for everybody who calls a command at the door, and translates errors."""

    async def interaction_check(self, interaction: discord.Interaction[discord.Client], /) -> bool:
        begin_request()  # discord.py runs each command in a task of its own
        services = services_of(interaction)
        completes = interaction.type is discord.InteractionType.autocomplete
        name = interaction.data.get("name") if interaction.data else None
        if name not in ALWAYS_ALLOWED and not await check_access(interaction):
            return False
        try:
            if not completes:
                services.rate_limiter.require(interaction.user.id, interaction.channel_id or 0, interaction.guild_id)
        except RateLimited as error:
            if services.rate_limiter.should_notify(interaction.user.id, interaction.channel_id or 0):
                await answer_privately(interaction, member_message(error))
            return False
        return True

    async def on_error(
        self, interaction: discord.Interaction[discord.Client], error: app_commands.AppCommandError, /
    ) -> None:
        command = interaction.command
        await report_error(interaction, error, command.qualified_name if command and is_for_admins(command) else "")
