"""Lets members give the bot notes about themselves, and forget a conversation."""

from __future__ import annotations

import discord
from discord import app_commands
from discord.ext import commands

from bot.errors import UserFacingError
from bot.guards.access import is_admin
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

NO_NOTES = "I have no notes about you. Add one with `/me remember`."
NO_SUCH_NOTE = "I have no such note. `/me show` lists your notes."
FORGOTTEN = "Done. I no longer use what was said here before."
NOT_YOURS = (
    "Only admins can do this here (Manage Server, or a role that the operator chose). You can do it in our direct "
    "messages and in threads that you opened."
)


class Me(
    commands.GroupCog, group_name="me", group_description="What I remember about you, used only when I answer you"
):
    def __init__(self, bot: commands.AutoShardedBot, services: Services) -> None:
        self.bot = bot
        self.services = services

    @app_commands.command()
    @app_commands.describe(note="What I should know about you, in a few words")
    async def remember(
        self, interaction: discord.Interaction, note: app_commands.Range[str, 1, MAX_NOTE_CHARS]
    ) -> None:
        """Add a short note about yourself."""
        await interaction.response.defer(ephemeral=True)
        added = await self.services.database.run(add_note, interaction.user.id, note)
        await answer_privately(
            interaction,
            f"Noted: “{escape_inline(added.text)}”. I use it only when I answer you, but others in the channel may "
            "notice. `/me show` lists your notes, `/me forget` deletes them.",
        )

    @app_commands.command()
    async def show(self, interaction: discord.Interaction) -> None:
        """Show my notes about you."""
        await interaction.response.defer(ephemeral=True)
        notes = await self.services.database.read(list_notes, interaction.user.id)
        lines = [f"{number}. {escape_inline(note.text)}" for number, note in enumerate(notes, start=1)]
        await answer_privately(interaction, "\n".join(lines) or NO_NOTES)

    @app_commands.command()
    @app_commands.describe(number="Number of the note in `/me show`; without it, all notes")
    async def forget(
        self, interaction: discord.Interaction, number: app_commands.Range[int, 1, MAX_NOTES] | None = None
    ) -> None:
        """Delete my notes about you."""
        await interaction.response.defer(ephemeral=True)
        dropped = await self.services.database.run(drop_notes, interaction.user.id, number)
        text = f"Deleted: {count(dropped, 'note')}." if dropped else NO_SUCH_NOTE if number else NO_NOTES
        await answer_privately(interaction, text)


class Forget(commands.GroupCog, group_name="forget", group_description="Start over"):
    def __init__(self, bot: commands.AutoShardedBot, services: Services) -> None:
        self.bot = bot
        self.services = services

    @app_commands.command()
    async def conversation(self, interaction: discord.Interaction) -> None:
        """Forget what was said so far: in direct messages and your own threads; admins anywhere."""
        is_own = _is_own(interaction)
        if not is_own and not is_admin(interaction.user, self.services.settings.discord):
            raise UserFacingError(NOT_YOURS)
        await interaction.response.defer(ephemeral=True)
        # An interaction's ID is higher than that of every earlier message.
        channel_id = interaction.channel_id or 0
        if is_own:
            await self.services.database.run(forget_conversation, channel_id, interaction.id)
            interaction.extras[NOTED] = True  # it needed no admin rights
        else:
            await run_audited(interaction, forget_conversation, channel_id, interaction.id)
        await answer_privately(interaction, FORGOTTEN)


def _is_own(interaction: discord.Interaction) -> bool:
    """Return whether the conversation is the member's own: in direct messages, and in a thread that they opened."""
    channel = interaction.channel
    if isinstance(channel, discord.Thread):
        return channel.owner_id == interaction.user.id
    return interaction.guild_id is None


async def setup(bot: commands.AutoShardedBot, services: Services) -> None:
    await bot.add_cog(Me(bot, services))
    await bot.add_cog(Forget(bot, services))
