"""Lets members say what to remember of them, and forget what was said."""

from __future__ import annotations

import discord
from discord import app_commands
from discord.ext import commands

from bot.guards.access import require_admin
from bot.guards.audit import NOTED, run_audited
from bot.guards.error_handler import answer_privately
from bot.services import Services
from bot.text.sanitize import escape_inline
from storage.conversations.memory import (
    MAX_NOTE_CHARS,
    MAX_NOTES,
    add_note,
    drop_notes,
    forget_conversation,
    list_notes,
)
from storage.wording import count

NOTHING = "I have no notes of you. `/me remember` gives me one."
FORGOTTEN = "Forgotten: what was said here before is no part of our conversation any more."


class Me(commands.GroupCog, group_name="me", group_description="What I remember of you, used only when you talk to me"):
    def __init__(self, bot: commands.AutoShardedBot, services: Services) -> None:
        self.bot = bot
        self.services = services

    @app_commands.command()
    @app_commands.describe(note="What I should know of you, in a few words")
    async def remember(
        self, interaction: discord.Interaction, note: app_commands.Range[str, 1, MAX_NOTE_CHARS]
    ) -> None:
        """Give me a short note about yourself."""
        await interaction.response.defer(ephemeral=True)
        kept = await self.services.database.run(add_note, interaction.user.id, note)
        await answer_privately(
            interaction,
            f"Noted: “{escape_inline(kept.text)}”. I use it only when I answer you; others in the channel may notice. "
            "`/me show` lists your notes, `/me forget` drops them.",
        )

    @app_commands.command()
    async def show(self, interaction: discord.Interaction) -> None:
        """Show what I remember of you."""
        await interaction.response.defer(ephemeral=True)
        notes = await self.services.database.read(list_notes, interaction.user.id)
        lines = [f"{number}. {escape_inline(note.text)}" for number, note in enumerate(notes, start=1)]
        await answer_privately(interaction, "\n".join(lines) or NOTHING)

    @app_commands.command()
    @app_commands.describe(number="Which of your notes, as `/me show` numbers them; without it, all of them")
    async def forget(
        self, interaction: discord.Interaction, number: app_commands.Range[int, 1, MAX_NOTES] | None = None
    ) -> None:
        """Drop what I remember of you."""
        await interaction.response.defer(ephemeral=True)
        dropped = await self.services.database.run(drop_notes, interaction.user.id, number)
        said = f"Forgotten: {count(dropped, 'note')}." if dropped else "There is no such note: `/me show` lists yours."
        await answer_privately(interaction, said)


class Forget(commands.GroupCog, group_name="forget", group_description="Begin anew"):
    def __init__(self, bot: commands.AutoShardedBot, services: Services) -> None:
        self.bot = bot
        self.services = services

    @app_commands.command()
    async def conversation(self, interaction: discord.Interaction) -> None:
        """Leave what was said here so far out of our conversation."""
        owns = _owns(interaction)
        if not owns:
            require_admin(interaction.user, self.services.settings.discord)
        await interaction.response.defer(ephemeral=True)
        # An interaction's id is newer than every message before it.
        where = interaction.channel_id or 0
        if owns:
            await self.services.database.run(forget_conversation, where, interaction.id)
            interaction.extras[NOTED] = True  # it took no admin's right
        else:
            await run_audited(interaction, forget_conversation, where, interaction.id)
        await answer_privately(interaction, FORGOTTEN)


def _owns(interaction: discord.Interaction) -> bool:
    """Return whether the conversation is the member's own: in direct messages, and in a thread that they opened."""
    channel = interaction.channel
    if isinstance(channel, discord.Thread):
        return channel.owner_id == interaction.user.id
    return interaction.guild_id is None


async def setup(bot: commands.AutoShardedBot, services: Services) -> None:
    await bot.add_cog(Me(bot, services))
    await bot.add_cog(Forget(bot, services))
