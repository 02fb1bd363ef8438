"""Lets members say what is wrong with an answer, so that each cause goes where it can be mended."""

from __future__ import annotations

from re import Match

import discord
from discord import app_commands
from discord.ext import commands

from bot.errors import UserFacingError
from bot.guards.error_handler import NOT_MINE, answer_privately
from bot.guards.interactions import PersistentButton
from bot.services import Services
from storage.conversations.replies import find_by_message
from storage.database.enums import Cause
from storage.votes.causes import give_cause

QUESTION = "What is wrong with that answer?"
ADD_THUMB = " Put a 👎 under the answer as well, or it does not count."
NOTED = {
    Cause.WRONG_FACT: "Noted: a wrong fact. It goes to the admins as a gap in what I know, and is not trained on.",
    Cause.WRONG_TONE: "Noted: the wrong tone. `/suggest` shows me a better one.",
    Cause.TOO_LONG: "Noted: too long.",
    Cause.UNSAFE: "Noted: unsafe. If it must go at once, tell an admin.",
    Cause.OTHER: "Noted. `/suggest` lets you write a better answer.",
}
NOTED_IN_PRIVATE = "Noted: a wrong fact. It is not trained on, and between us: admins do not read it."
KEYS = {cause: cause.name.lower() for cause in Cause}


class Causes(commands.Cog):
    def __init__(self, bot: commands.AutoShardedBot, services: Services) -> None:
        self.bot = bot
        self.services = services
        self._menu = app_commands.ContextMenu(name="What is wrong with it?", callback=self.ask)

    async def cog_load(self) -> None:
        self.bot.tree.add_command(self._menu)
        self.bot.add_dynamic_items(CauseButton)

    async def cog_unload(self) -> None:
        self.bot.tree.remove_command(self._menu.name, type=self._menu.type)
        self.bot.remove_dynamic_items(CauseButton)

    async def ask(self, interaction: discord.Interaction, message: discord.Message) -> None:
        """Ask what is wrong with an answer."""
        await interaction.response.defer(ephemeral=True)
        reply = await self.services.database.read(find_by_message, message.id)
        if reply is None:
            raise UserFacingError(NOT_MINE)
        view = discord.ui.View(timeout=None)
        for cause in Cause:
            view.add_item(CauseButton(reply.id, cause))
        await answer_privately(interaction, QUESTION, view)


class CauseButton(
    PersistentButton,
    template=r"reactune:cause:(?P<reply>\d+):(?P<cause>[a-z_]+)",
):
    def __init__(self, reply_id: int, cause: Cause) -> None:
        self.reply_id = reply_id
        self.cause = cause
        custom_id = f"reactune:cause:{reply_id}:{KEYS[cause]}"
        super().__init__(custom_id, cause.value.capitalize())

    @classmethod
    def parse(cls, match: Match[str]) -> CauseButton:
        return cls(int(match["reply"]), Cause[match["cause"].upper()])

    async def press(self, interaction: discord.Interaction, services: Services) -> None:
        await interaction.response.defer()
        is_down = await services.database.run(give_cause, self.reply_id, interaction.user.id, self.cause)
        in_private = interaction.guild_id is None and self.cause is Cause.WRONG_FACT
        noted = NOTED_IN_PRIVATE if in_private else NOTED[self.cause]
        text = NOT_MINE if is_down is None else noted + ("" if is_down else ADD_THUMB)
        await interaction.edit_original_response(content=text, view=None)


async def setup(bot: commands.AutoShardedBot, services: Services) -> None:
    await bot.add_cog(Causes(bot, services))
