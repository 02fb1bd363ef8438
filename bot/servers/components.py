"""Selects of a message that is edited page by page."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable
from typing import Any

import discord
from discord import SelectDefaultValue, SelectDefaultValueType, ui

from bot.guards.interactions import PersistentButton
from bot.localization.sentences import gettext
from storage.wording import shorten

PREFIX = "setup:"
"""Of all custom IDs."""
MOST_CHOICES = 25  # Discord's limit
MOST_CHARS = 3_600  # Discord's limit for all texts of a message is 4,000


class Pages(ui.LayoutView):
    @abstractmethod
    async def show(self, interaction: discord.Interaction) -> None:
        """Show what was chosen, in answer to a click."""

    def lines(self, lines: Iterable[str]) -> ui.TextDisplay[Pages]:
        """Return as much of the lines as a message has room for, beside its heading and buttons."""
        return ui.TextDisplay(shorten("\n".join(lines), MOST_CHARS))


class ChannelChoice(ui.ChannelSelect[Pages]):
    def __init__(
        self,
        key: str,
        chosen: Iterable[int],
        choose: Callable[[list[int]], None],
        *,
        kinds: list[discord.ChannelType],
        most: int = MOST_CHOICES,
        disabled: bool = False,
    ) -> None:
        """`chosen` are IDs of channels that exist."""
        defaults = [SelectDefaultValue(id=id_, type=SelectDefaultValueType.channel) for id_ in chosen]
        super().__init__(
            custom_id=PREFIX + key,
            channel_types=kinds,
            placeholder=gettext("No channel"),
            min_values=0,
            max_values=most,
            default_values=defaults,
            disabled=disabled,
        )
        self._choose = choose

    async def callback(self, interaction: discord.Interaction) -> None:
        self._choose([channel.id for channel in self.values])
        assert self.view is not None
        await self.view.show(interaction)


class RoleChoice(ui.RoleSelect[Pages]):
    def __init__(self, chosen: Iterable[int], choose: Callable[[list[int]], None]) -> None:
        defaults = [SelectDefaultValue(id=id_, type=SelectDefaultValueType.role) for id_ in chosen]
        super().__init__(
            custom_id=f"{PREFIX}roles",
            placeholder=gettext("Everybody"),
            min_values=0,
            max_values=MOST_CHOICES,
            default_values=defaults,
        )
        self._choose = choose

    async def callback(self, interaction: discord.Interaction) -> None:
        self._choose([role.id for role in self.values])
        assert self.view is not None
        await self.view.show(interaction)


class OneChoice(ui.Select[Pages]):
    def __init__(self, key: str, options: list[discord.SelectOption], choose: Callable[[str], None]) -> None:
        super().__init__(custom_id=PREFIX + key, options=options)
        self._choose = choose

    async def callback(self, interaction: discord.Interaction) -> None:
        self._choose(self.values[0])
        assert self.view is not None
        await self.view.show(interaction)


async def edit_to(interaction: discord.Interaction, text: str, button: PersistentButton | None = None) -> None:
    """Let the message say only this from now on."""
    closed: ui.LayoutView = ui.LayoutView(timeout=None)
    closed.add_item(ui.TextDisplay(text))
    if button is not None:
        row: tuple[Any, ...] = (button,)  # discord.py's types do not know that rows take dynamic items
        closed.add_item(ui.ActionRow(*row))
    if interaction.response.is_done():
        await interaction.edit_original_response(view=closed)
    else:
        await interaction.response.edit_message(view=closed)
